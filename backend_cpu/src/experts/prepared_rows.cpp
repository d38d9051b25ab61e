// SPDX-License-Identifier: Apache-2.0
#include "prepared_rows.hpp"

#include <algorithm>
#include <cstring>

#include "check_call.hpp"
#include "expert_kernels.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/internal/prepare_pair.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// The packets on the wire: quantised only when that comes before the exchange.
RowPackets wire_packets(PrepareTraits const& traits, PrepareShape const& shape) {
  bool const before = traits.quantize == QuantizeWhen::before_exchange;
  return {shape.hidden, traits.dtype, before ? traits.quant : std::nullopt};
}

/// tokens times weights, one per row, rounded to the row dtype.
std::vector<std::byte> weighted_rows(ConstTensorView const& tokens, std::span<float const> weights,
                                     std::int64_t hidden) {
  ExpertKernels const& kernels = active_expert_kernels();
  std::int64_t const row_bytes = hidden * size_of(tokens.dtype());
  std::vector<std::byte> out(weights.size() * to_size(row_bytes));
  std::vector<float> row(to_size(hidden));
  hd::FloatEnvGuard const float_env;
  for (std::size_t token = 0; token < weights.size(); ++token) {
    std::size_t const at = token * to_size(row_bytes);
    kernels.load(static_cast<std::byte const*>(tokens.data()) + at, tokens.dtype(), &weights[token], row.data(),
                 hidden);
    kernels.add_and_store(row.data(), nullptr, tokens.dtype(), out.data() + at, hidden);
  }
  return out;
}

}  // namespace

/// What one batch keeps from prepare to finalize.
struct CpuPrepare::Memory {
  std::span<std::byte> arrival;  ///< packets in the standard format; the prepared rows themselves when they are plain
  std::span<std::byte> rows;     ///< batched plain rows
  std::span<std::byte> codes;
  std::span<std::byte> scales;
};

CpuPrepare::CpuPrepare(PrepareTraits traits, PrepareShape shape)
    : traits_(std::move(traits)), shape_(shape), packets_(wire_packets(traits_, shape_)) {}

CpuPrepare::Memory CpuPrepare::take_memory(Workspace& arena, CpuBatch const& batch) const {
  Memory memory;
  memory.arrival = arena.take<std::byte>("arrived rows", checked_mul(batch.arrival_rows, packets_.row_bytes()));
  if (batch.quant) {
    QuantSizes const sizes = quant_sizes(batch.quant->layout(), batch.num_rows(), shape_.hidden);
    memory.codes = arena.take<std::byte>("codes", sizes.code_bytes);
    memory.scales = arena.take<std::byte>("scales", sizes.scale_bytes);
  } else if (traits_.output_format == RowFormat::batched) {
    memory.rows = arena.take<std::byte>("batched rows", checked_mul(batch.num_rows(), packets_.row_bytes()));
  }
  return memory;
}

void CpuPrepare::check_inputs(PrepareInputs const& inputs) const {
  internal::check_prepare_routing(traits_, shape_, inputs);
  require_matrix(inputs.tokens, "tokens", inputs.routing->num_tokens(), shape_.hidden);
}

void CpuPrepare::make_packets(CpuBatch& batch, PrepareInputs const& inputs) const {
  std::int64_t const tokens = inputs.routing->num_tokens();
  ConstTensorView plain = batch.tokens;
  batch.weighted_input = inputs.router_weight_on_input;
  if (batch.weighted_input) {
    batch.sent_bytes = weighted_rows(plain, inputs.routing->weights(), shape_.hidden);
    plain = {batch.sent_bytes.data(), traits_.dtype, {tokens, shape_.hidden}};
  }
  batch.sent = plain;
  batch.quant = traits_.quant;
  if (batch.quant && inputs.a1_scale) batch.quant->given_scale = *inputs.a1_scale;
  if (traits_.quantize != QuantizeWhen::before_exchange) return;
  std::vector<std::byte> packets(to_size(checked_mul(tokens, packets_.row_bytes())));
  packets_.pack(quantize(*batch.quant, plain).view(), packets);
  batch.sent_bytes = std::move(packets);
  batch.sent = packets_.carrier(batch.sent_bytes.data(), tokens);
}

std::unique_ptr<PreparedBatch> CpuPrepare::start_prepare(PrepareInputs const& inputs) {
  check_inputs(inputs);
  auto batch = std::make_unique<CpuBatch>();
  batch->owner = this;
  batch->routing = inputs.routing;
  batch->tokens = {inputs.tokens.data(), traits_.dtype, {inputs.routing->num_tokens(), shape_.hidden}};
  make_packets(*batch, inputs);
  send(*batch);
  batch->set_format(traits_, shape_, packets_.row_bytes());
  return batch;
}

std::int64_t CpuPrepare::prepared_bytes(PreparedBatch const& batch) const {
  Workspace counting;
  static_cast<void>(take_memory(counting, internal::batch_as<CpuBatch const>(batch)));
  return counting.bytes();
}

QuantizedView CpuPrepare::place_codes(CpuBatch const& batch, Memory const& memory) const {
  QuantSpec const& spec = *batch.quant;
  QuantizedMatrix after;
  ConstStridedRows codes{memory.arrival.data(), packets_.row_bytes()};
  ConstStridedRows scales{memory.arrival.data() + packets_.code_bytes(), packets_.row_bytes()};
  RowPackets const packets(shape_.hidden, traits_.dtype, spec);
  if (traits_.quantize == QuantizeWhen::after_exchange) {
    after = quantize(spec, ConstTensorView(memory.arrival.data(), traits_.dtype, {batch.arrival_rows, shape_.hidden}));
    codes = {after.codes.data(), packets.code_bytes()};
    scales = {after.scales.data(), packets.scale_bytes()};
  }
  copy_blocks(codes, batch.arrival_blocks, {memory.codes.data(), packets.code_bytes()}, batch.blocks(),
              packets.code_bytes());
  copy_blocks(scales, batch.arrival_blocks, {memory.scales.data(), packets.scale_bytes()}, batch.blocks(),
              packets.scale_bytes());
  if (packets.scale_bytes() == 0 && !memory.scales.empty()) {  // one scale for all: given, or made after the exchange
    std::byte const* const given = reinterpret_cast<std::byte const*>(&spec.given_scale);
    std::memcpy(memory.scales.data(), after.scales.empty() ? given : after.scales.data(), sizeof spec.given_scale);
  }
  return {spec.layout(), batch.num_rows(), shape_.hidden, memory.codes, memory.scales, {}, spec.tensor_scale};
}

PreparedRows CpuPrepare::finish_prepare(PreparedBatch& batch, std::span<std::byte> memory) {
  CpuBatch& own = internal::batch_as<CpuBatch>(batch);
  own.require_step(this, CpuBatch::Step::sent);
  Workspace arena(memory);
  Memory const parts = take_memory(arena, own);
  receive(own, packets_.carrier(parts.arrival.data(), own.arrival_rows));
  own.step = CpuBatch::Step::prepared;
  PreparedRows prepared;
  if (own.quant) {
    prepared.codes = place_codes(own, parts);
    return prepared;
  }
  bool const batched = traits_.output_format == RowFormat::batched;
  if (batched)
    copy_blocks({parts.arrival.data(), packets_.row_bytes()}, own.arrival_blocks,
                {parts.rows.data(), packets_.row_bytes()}, own.blocks(), packets_.row_bytes());
  prepared.rows = packets_.carrier(batched ? parts.rows.data() : parts.arrival.data(), own.num_rows());
  return prepared;
}

ConstTensorView CpuPrepare::standard_rows(CpuBatch& batch, ConstTensorView const& rows) const {
  DType const dtype = internal::require_result_dtype(*this, batch, rows);
  if (traits_.output_format == RowFormat::standard) return {rows.data(), dtype, {batch.arrival_rows, shape_.hidden}};
  std::int64_t const row_bytes = shape_.hidden * size_of(dtype);
  batch.travelling.resize(to_size(checked_mul(batch.arrival_rows, row_bytes)));
  copy_blocks({static_cast<std::byte const*>(rows.data()), row_bytes}, batch.blocks(),
              {batch.travelling.data(), row_bytes}, batch.arrival_blocks, row_bytes);
  return {batch.travelling.data(), dtype, {batch.arrival_rows, shape_.hidden}};
}

void CpuPrepare::start_finalize(PreparedBatch& batch, FinalizeInputs const& inputs, TensorView const& output) {
  CpuBatch& own = internal::batch_as<CpuBatch>(batch);
  own.require_step(this, CpuBatch::Step::prepared);
  internal::require_results(*this, own, inputs, MemorySpace::host);
  require_matrix(output, "output", own.routing->num_tokens(), shape_.hidden);
  own.output = {output.data(), traits_.dtype, {own.routing->num_tokens(), shape_.hidden}};
  start_reduce(own, {standard_rows(own, inputs.expert_rows), inputs.join_bias});
  own.step = CpuBatch::Step::finalizing;
}

void CpuPrepare::finish_finalize(PreparedBatch& batch) {
  CpuBatch& own = internal::batch_as<CpuBatch>(batch);
  own.advance(this, CpuBatch::Step::finalizing, CpuBatch::Step::done);
  finish_reduce(own);
}

void CpuPrepare::finalize_backward(PreparedBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                                   TensorView const& d_expert_rows, std::span<float> d_weights) {
  CpuBatch& own = internal::batch_as<CpuBatch>(batch);
  own.require_step(this, CpuBatch::Step::done);
  internal::require_finalize_backward(*this, own, inputs, d_output, d_expert_rows, d_weights, MemorySpace::host);
  own.step = CpuBatch::Step::weighed;
  ConstTensorView const gradient(d_output.data(), traits_.dtype, {own.routing->num_tokens(), shape_.hidden});
  FinalizeInputs const standard{standard_rows(own, inputs.expert_rows), inputs.join_bias};
  std::int64_t const row_bytes = shape_.hidden * size_of(traits_.dtype);
  bool const batched = traits_.output_format == RowFormat::batched;
  std::vector<std::byte> rows(batched ? to_size(checked_mul(own.arrival_rows, row_bytes)) : 0);
  TensorView const d_rows(batched ? rows.data() : d_expert_rows.data(), traits_.dtype,
                          {own.arrival_rows, shape_.hidden});
  reduce_backward(own, standard, gradient, d_rows, d_weights);
  if (own.weighted_input) std::ranges::fill(d_weights, 0.0f);
  if (batched)
    copy_blocks({rows.data(), row_bytes}, own.arrival_blocks,
                {static_cast<std::byte*>(d_expert_rows.data()), row_bytes}, own.blocks(), row_bytes);
}

void CpuPrepare::start_prepare_backward(PreparedBatch& batch, ConstTensorView const& d_rows,
                                        TensorView const& d_tokens) {
  CpuBatch& own = internal::batch_as<CpuBatch>(batch);
  own.require_step(this, CpuBatch::Step::weighed);
  require_matrix(d_rows, "d_rows", own.num_rows(), shape_.hidden);
  require_matrix(d_tokens, "d_tokens", own.routing->num_tokens(), shape_.hidden);
  own.output = {d_tokens.data(), traits_.dtype, {own.routing->num_tokens(), shape_.hidden}};
  start_send_backward(own, standard_rows(own, d_rows));
  own.step = CpuBatch::Step::returning;
}

void CpuPrepare::input_weights_backward(CpuBatch const& batch, std::span<float> d_weights) const {
  auto const ids = batch.routing->ids();
  std::size_t const row_bytes = to_size(shape_.hidden * size_of(traits_.dtype));
  router_weight_backward(batch.tokens, batch.routing->weights(), batch.output, batch.output, d_weights);
  for (std::size_t token = 0; token < ids.size(); ++token) {
    if (ids[token] >= 0) continue;  // whatever its token and weight hold, a NaN for instance
    d_weights[token] = 0.0f;
    std::memset(static_cast<std::byte*>(batch.output.data()) + token * row_bytes, 0, row_bytes);
  }
}

void CpuPrepare::finish_prepare_backward(PreparedBatch& batch, std::span<float> d_weights) {
  CpuBatch& own = internal::batch_as<CpuBatch>(batch);
  own.advance(this, CpuBatch::Step::returning, CpuBatch::Step::returned);
  finish_send_backward(own);
  if (own.weighted_input) input_weights_backward(own, d_weights);
}

}  // namespace switchyard::cpu
