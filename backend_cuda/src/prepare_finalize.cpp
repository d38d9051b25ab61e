// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/prepare_finalize.hpp"

#include "cuda_prepare.hpp"
#include "expert_kernels.hpp"
#include "expert_tables.hpp"
#include "nvtx_range.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {

using Step = CudaBatch::Step;

CudaPrepare::Memory CudaPrepare::take_memory(Workspace& arena, CudaBatch const& batch) const {
  Memory memory;
  memory.arrival = arena.take<std::byte>("arrived rows", checked_mul(batch.arrival_rows, packets_.row_bytes));
  if (batch.quant) {
    QuantSizes const sizes = quant_sizes(batch.quant->layout(), batch.num_rows(), shape_.hidden);
    memory.codes = arena.take<std::byte>("codes", sizes.code_bytes);
    memory.scales = arena.take<std::byte>("scales", sizes.scale_bytes);
    memory.standard_codes = memory.codes;
    memory.standard_scales = memory.scales;
    if (batched() && traits_.quantize == QuantizeWhen::after_exchange) {
      QuantSizes const standard = quant_sizes(batch.quant->layout(), batch.arrival_rows, shape_.hidden);
      memory.standard_codes = arena.take<std::byte>("codes by arrival", standard.code_bytes);
      memory.standard_scales = arena.take<std::byte>("scales by arrival", standard.scale_bytes);
    }
  } else if (batched()) {
    memory.rows = arena.take<std::byte>("batched rows", checked_mul(batch.num_rows(), packets_.row_bytes));
  }
  return memory;
}

/// Tokens times their weights, rounded to the row dtype.
void CudaPrepare::weigh_tokens(CudaBatch& batch) {
  std::int64_t const tokens = batch.routing->num_tokens();
  batch.weighted = DeviceBuffer(checked_mul(checked_mul(tokens, shape_.hidden), size_of(traits_.dtype)));
  auto const all = upload(std::vector<switchyard::RowBlock>{{0, tokens}}, stream_);
  launch_weigh_blocks({all.as<switchyard::RowBlock const>(), 1, tokens, shape_.hidden, traits_.dtype,
                       batch.tokens.data(), batch.weights.as<float const>(), batch.weighted.data()},
                      stream_);
  stream_.synchronize();  // `all` goes
  batch.sent = rows_view(batch.weighted.data(), traits_.dtype, tokens);
}

void CudaPrepare::make_packets(CudaBatch& batch, std::optional<float> a1_scale) {
  batch.sent = batch.tokens;
  if (batch.weighted_input) weigh_tokens(batch);
  batch.quant = traits_.quant;
  if (batch.quant && a1_scale) batch.quant->given_scale = *a1_scale;
  if (traits_.quantize != QuantizeWhen::before_exchange) return;
  std::int64_t const tokens = batch.routing->num_tokens();
  std::int64_t const bytes = checked_mul(tokens, packets_.row_bytes);
  batch.packets = DeviceBuffer(checked_add(bytes, 16));  // room for a scale that does not travel
  clear(batch.packets.data(), bytes, stream_);
  auto* const start = batch.packets.as<std::byte>();
  QuantizeParams params{batch.sent.data(), traits_.dtype, tokens, shape_.hidden, start, start + packets_.code_bytes};
  params.code_stride_bytes = packets_.row_bytes;
  params.scale_stride_bytes = packets_.row_bytes;
  if (packets_.scale_bytes == 0) params.scales = start + bytes;
  launch_quantize(*batch.quant, params, stream_);
  batch.sent = carrier(start, tokens);
}

void CudaPrepare::make_plan(CudaBatch& batch) {
  RoutingMap const& routing = *batch.routing;
  auto const ids = routing.ids();
  if (local()) {
    batch.grouping = group_rows(std::vector<std::int64_t>(ids.begin(), ids.end()), routing.top_k(), expert_map_,
                                shape_.num_local_experts);
    batch.arrival_blocks = batch.grouping.blocks();
    batch.arrival_rows = batch.grouping.num_rows();
    auto const weights = batch.weighted_input ? std::span<float const>() : routing.weights();
    batch.terms = local_terms(batch.grouping, weights, stream_);
    return;
  }
  DispatchPlan plan = internal::plan_prepare(kind_, host_, routing, placement_, options_);
  batch.arrival_blocks = standard_blocks(plan.tokens_per_local_expert);
  batch.arrival_rows = plan.num_expert_rows();
  require_supported(plan, options_.recipe, CombineRoute::automatic);
  require_supported(plan, options_.gradient_recipe, CombineRoute::automatic);
  batch.device_plan.emplace(std::move(plan), DevicePlanOptions{ReceiveLayout::blocks, ids});
}

std::unique_ptr<PreparedBatch> CudaPrepare::start_prepare(PrepareInputs const& inputs) {
  NvtxRange const range("start prepare");
  internal::check_prepare_routing(traits_, shape_, inputs);
  std::int64_t const tokens = inputs.routing->num_tokens();
  require_device_matrix(inputs.tokens, "tokens", tokens, shape_.hidden);
  auto batch = std::make_unique<CudaBatch>();
  batch->owner = this;
  batch->routing = inputs.routing;
  batch->weighted_input = inputs.router_weight_on_input;
  auto const weights = inputs.routing->weights();
  batch->weights = upload(std::vector<float>(weights.begin(), weights.end()), stream_);
  batch->tokens = ConstTensorView(inputs.tokens.data(), traits_.dtype, {tokens, shape_.hidden}, MemorySpace::device);
  make_packets(*batch, inputs.a1_scale);
  make_plan(*batch);
  batch->set_format(traits_, shape_, packets_.row_bytes);
  return batch;
}

std::int64_t CudaPrepare::prepared_bytes(PreparedBatch const& batch) const {
  Workspace counting;
  static_cast<void>(take_memory(counting, internal::batch_as<CudaBatch const>(batch)));
  return counting.bytes();
}

void CudaPrepare::receive(CudaBatch& batch, Memory const& memory) {
  if (!local())
    return executor_.dispatch(*batch.device_plan, batch.sent, carrier(memory.arrival.data(), batch.arrival_rows),
                              stream_);
  auto const map = upload(batch.grouping.token_of_row(), stream_);
  launch_gather_rows(
      {batch.sent.data(), memory.arrival.data(), map.as<std::int64_t const>(), batch.arrival_rows, packets_.row_bytes},
      stream_);
  stream_.synchronize();  // `map` goes
}

void CudaPrepare::quantize_arrival(CudaBatch const& batch, Memory const& memory) const {
  std::byte* const codes = memory.standard_codes.data();
  std::byte* const scales = memory.standard_scales.data();
  launch_quantize(*batch.quant,
                  {memory.arrival.data(), traits_.dtype, batch.arrival_rows, shape_.hidden, codes, scales}, stream_);
}

/// Codes and scales of the standard format, or of packets, to the blocks that experts read.
void CudaPrepare::copy_codes(CudaBatch const& batch, Memory const& memory) const {
  bool const in_packets = traits_.quantize == QuantizeWhen::before_exchange;
  auto const sizes = internal::packet_sizes(shape_.hidden, traits_.dtype, *batch.quant);
  PitchedRows codes{memory.standard_codes.data(), sizes.code_bytes};
  PitchedRows scales{memory.standard_scales.data(), sizes.scale_bytes};
  if (in_packets) codes = {memory.arrival.data(), packets_.row_bytes};
  if (in_packets) scales = {memory.arrival.data() + packets_.code_bytes, packets_.row_bytes};
  copy_row_blocks(codes, batch.arrival_blocks, {memory.codes.data(), sizes.code_bytes}, batch.blocks(),
                  sizes.code_bytes, stream_);
  copy_row_blocks(scales, batch.arrival_blocks, {memory.scales.data(), sizes.scale_bytes}, batch.blocks(),
                  sizes.scale_bytes, stream_);
  if (sizes.scale_bytes > 0 || memory.scales.empty() || batch.arrival_rows == 0) return;
  // One scale for all rows: given, or made after the exchange.
  void const* const scale = in_packets ? static_cast<void const*>(&batch.quant->given_scale) : scales.data;
  SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(memory.scales.data(), scale, sizeof(float), cudaMemcpyDefault, stream_.handle()));
}

QuantizedView CudaPrepare::place_codes(CudaBatch const& batch, Memory const& memory) const {
  QuantSpec const& spec = *batch.quant;
  bool const after = traits_.quantize == QuantizeWhen::after_exchange;
  if (after) quantize_arrival(batch, memory);
  if (!after || batched()) copy_codes(batch, memory);
  return {spec.layout(), batch.num_rows(), shape_.hidden, memory.codes, memory.scales, {}, spec.tensor_scale};
}

PreparedRows CudaPrepare::finish_prepare(PreparedBatch& batch, std::span<std::byte> memory) {
  NvtxRange const range("finish prepare");
  CudaBatch& own = internal::batch_as<CudaBatch>(batch);
  Workspace arena(memory);
  Memory const parts = take_memory(arena, own);
  own.advance(this, Step::sent, Step::prepared);
  receive(own, parts);
  PreparedRows prepared;
  if (own.quant) {
    prepared.codes = place_codes(own, parts);
    hand_over(stream_, experts_stream_);
    return prepared;
  }
  PitchedRows const arrived{parts.arrival.data(), packets_.row_bytes};
  if (batched())
    copy_row_blocks(arrived, own.arrival_blocks, {parts.rows.data(), packets_.row_bytes}, own.blocks(),
                    packets_.row_bytes, stream_);
  hand_over(stream_, experts_stream_);
  prepared.rows = carrier(batched() ? parts.rows.data() : parts.arrival.data(), own.num_rows());
  return prepared;
}

ConstTensorView CudaPrepare::standard_rows(CudaBatch& batch, ConstTensorView const& rows) const {
  DType const dtype = internal::require_result_dtype(*this, batch, rows);
  if (!batched()) return rows_view(const_cast<void*>(rows.data()), dtype, batch.arrival_rows);
  std::int64_t const row_bytes = shape_.hidden * size_of(dtype);
  if (batch.travelling.size_bytes() > 0) stream_.synchronize();  // nothing reads the buffer that goes
  batch.travelling = DeviceBuffer(checked_mul(batch.arrival_rows, row_bytes));
  copy_row_blocks({const_cast<void*>(rows.data()), row_bytes}, batch.blocks(), {batch.travelling.data(), row_bytes},
                  batch.arrival_blocks, row_bytes, stream_);
  return rows_view(batch.travelling.data(), dtype, batch.arrival_rows);
}

CombineInputs CudaPrepare::combine_inputs(CudaBatch const& batch, FinalizeInputs const& inputs) const {
  void const* const data = batch.weighted_input ? batch.device_plan->lists().ones().data() : batch.weights.data();
  CombineInputs combine;
  combine.weights = {data, DType::f32, {batch.routing->num_tokens(), batch.routing->top_k()}, MemorySpace::device};
  if (inputs.join_bias.shape().rank() > 0) combine.join_bias = inputs.join_bias;
  return combine;
}

/// source_slot_order over the local rows of every token.
void CudaPrepare::sum_locally(CudaBatch const& batch, ConstTensorView const& rows, DeviceBuffer const& weights) const {
  launch_sum_rows(
      SumStep::fp32_product,
      {rows.data(), traits_.dtype, batch.output.data(), traits_.dtype, batch.terms.begin.as<std::int64_t const>(),
       batch.terms.rows.as<std::int64_t const>(), weights.data(), batch.routing->num_tokens(), shape_.hidden},
      stream_);
}

void CudaPrepare::start_finalize(PreparedBatch& batch, FinalizeInputs const& inputs, TensorView const& output) {
  NvtxRange const range("start finalize");
  CudaBatch& own = internal::batch_as<CudaBatch>(batch);
  internal::require_results(*this, own, inputs, MemorySpace::device);
  require_device_matrix(output, "output", own.routing->num_tokens(), shape_.hidden);
  own.advance(this, Step::prepared, Step::finalizing);
  hand_over(experts_stream_, stream_);
  own.output = rows_view(output.data(), traits_.dtype, own.routing->num_tokens());
  ConstTensorView const rows = standard_rows(own, inputs.expert_rows);
  if (local()) return sum_locally(own, rows, own.terms.weights);
  executor_.combine(*own.device_plan, options_.recipe, rows, combine_inputs(own, inputs), own.output, stream_);
}

void CudaPrepare::hand_over(StreamView from, StreamView to) {
  if (from.handle() == to.handle()) return;
  handed_.view().record(from);
  to.wait(handed_);
}

void CudaPrepare::wait_and_check() {
  if (!local()) return executor_.check(stream_);
  stream_.synchronize();
}

void CudaPrepare::finish_finalize(PreparedBatch& batch) {
  NvtxRange const range("finish finalize");
  internal::batch_as<CudaBatch>(batch).advance(this, Step::finalizing, Step::done);
  wait_and_check();
}

std::unique_ptr<PrepareFinalize> make_prepare_finalize(PrepareKind kind, PrepareGroup const& group,
                                                       ExpertPlacement const& placement, PrepareOptions const& options,
                                                       LayerStreams streams) {
  internal::check_prepare_options(kind, group.host, placement, options);
  SWITCHYARD_REQUIRE(group.host.rank() == group.device.rank() && group.host.size() == group.device.size(),
                     invalid_argument, "the host communicator is rank {} of {}, the device one rank {} of {}",
                     group.host.rank().value(), group.host.size(), group.device.rank().value(), group.device.size());
  return std::make_unique<CudaPrepare>(kind, group, placement, options, streams);
}

std::unique_ptr<PrepareFinalize> make_prepare_finalize(PrepareKind kind, PrepareGroup const& group,
                                                       ExpertPlacement const& placement, PrepareOptions const& options,
                                                       StreamView stream) {
  return make_prepare_finalize(kind, group, placement, options, LayerStreams{stream, stream});
}

}  // namespace switchyard::cuda
