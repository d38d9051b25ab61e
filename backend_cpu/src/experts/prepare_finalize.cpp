// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/prepare_finalize.hpp"

#include <cstring>

#include "prepared_rows.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/experts/weight_and_reduce.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

constexpr std::array<std::string_view, kAllPrepareKinds.size()> kNames = {
    "no_communication", "no_communication_batched", "allgather", "alltoall", "flex", "low_latency"};

bool is_local(PrepareKind kind) noexcept {
  return kind == PrepareKind::no_communication || kind == PrepareKind::no_communication_batched;
}

/// Tokens stay where they are; choices of other ranks' experts give nothing.
class LocalPrepare final : public CpuPrepare {
 public:
  LocalPrepare(std::vector<std::int32_t> expert_map, PrepareTraits traits, PrepareShape shape)
      : CpuPrepare(std::move(traits), shape), expert_map_(std::move(expert_map)) {}

 private:
  void send(CpuBatch& batch) override {
    auto const ids = batch.routing->ids();
    batch.grouping = group_rows(std::vector<std::int64_t>(ids.begin(), ids.end()), batch.routing->top_k(), expert_map_,
                                shape().num_local_experts);
    batch.arrival_blocks = batch.grouping.blocks();
    batch.arrival_rows = batch.grouping.num_rows();
  }

  void receive(CpuBatch& batch, TensorView const& arrival) override {
    std::int64_t const bytes = arrival.extent(1) * size_of(arrival.dtype());
    auto const tokens = batch.grouping.token_of_row();
    auto const* const from = static_cast<std::byte const*>(batch.sent.data());
    auto* const to = static_cast<std::byte*>(arrival.data());
    for (std::size_t row = 0; row < tokens.size(); ++row)
      std::memcpy(to + static_cast<std::int64_t>(row) * bytes, from + tokens[row] * bytes, to_size(bytes));
  }

  [[nodiscard]] static std::span<float const> weights_of(CpuBatch const& batch) {
    return batch.weighted_input ? std::span<float const>() : batch.routing->weights();
  }

  // Nothing travels: everything happens in the first half.
  void start_reduce(CpuBatch& batch, FinalizeInputs const& inputs) override {
    weight_and_reduce(WeightAndReduce::contiguous, batch.grouping, inputs.expert_rows, weights_of(batch), batch.output);
  }
  void finish_reduce(CpuBatch&) override {}

  void reduce_backward(CpuBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                       TensorView const& d_rows, std::span<float> d_weights) override {
    weight_and_reduce_backward(batch.grouping, inputs.expert_rows, weights_of(batch), d_output, d_rows, d_weights);
  }

  void start_send_backward(CpuBatch& batch, ConstTensorView const& d_rows) override {
    weight_and_reduce(WeightAndReduce::contiguous, batch.grouping, d_rows, {}, batch.output);
  }
  void finish_send_backward(CpuBatch&) override {}

  std::vector<std::int32_t> expert_map_;
};

/// Rows travel by a plan of one of the dispatchers.
class DispatchedPrepare final : public CpuPrepare {
 public:
  DispatchedPrepare(PrepareKind kind, Communicator& comm, ExpertPlacement const& placement,
                    PrepareOptions const& options, PrepareTraits traits, PrepareShape shape)
      : CpuPrepare(std::move(traits), shape),
        kind_(kind),
        comm_(comm),
        placement_(placement),
        options_(options),
        executor_(comm) {}

 private:
  template <typename Config>
  [[nodiscard]] Config config() const {
    Config config;
    config.grid = options_.grid;
    return config;
  }

  [[nodiscard]] DispatchPlan plan_of(RoutingMap const& routing) const {
    if (kind_ == PrepareKind::allgather)
      return plan_allgather(comm_, config<AllGatherConfig>(), routing, placement_, options_.layer);
    if (kind_ == PrepareKind::flex) return plan_flex(comm_, config<FlexConfig>(), routing, placement_, options_.layer);
    auto alltoall = config<AllToAllConfig>();
    alltoall.row_order = RowOrder::rank_major;
    return plan_alltoall(comm_, alltoall, routing, placement_, options_.layer);
  }

  void send(CpuBatch& batch) override {
    batch.plan_ = plan_of(*batch.routing);
    batch.arrival_blocks = standard_blocks(batch.plan_->tokens_per_local_expert);
    batch.arrival_rows = batch.plan_->num_expert_rows();
    require_supported(*batch.plan_, options_.recipe, CombineRoute::automatic);
    require_supported(*batch.plan_, options_.gradient_recipe, CombineRoute::automatic);
    executor_.start_dispatch(*batch.plan_, batch.sent);
  }

  void receive(CpuBatch& batch, TensorView const& arrival) override {
    executor_.finish_dispatch(*batch.plan_, arrival);
  }

  [[nodiscard]] static CombineInputs combine_inputs(CpuBatch const& batch, ConstTensorView const& bias) {
    CombineInputs inputs;
    inputs.weights = batch.routing->weights();
    inputs.experts = batch.routing->ids();
    inputs.weights_applied = batch.weighted_input;
    if (bias.shape().rank() > 0) inputs.join_bias = bias;
    return inputs;
  }

  void start_reduce(CpuBatch& batch, FinalizeInputs const& inputs) override {
    executor_.start_combine(*batch.plan_, options_.recipe, inputs.expert_rows, combine_inputs(batch, inputs.join_bias),
                            batch.output);
  }
  void finish_reduce(CpuBatch&) override { executor_.finish_combine(); }

  void reduce_backward(CpuBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                       TensorView const& d_rows, std::span<float> d_weights) override {
    executor_.combine_backward(*batch.plan_, d_output, inputs.expert_rows, combine_inputs(batch, inputs.join_bias),
                               d_rows, d_weights);
  }

  void start_send_backward(CpuBatch& batch, ConstTensorView const& d_rows) override {
    CombineInputs inputs;
    inputs.experts = batch.routing->ids();
    inputs.weights_applied = true;
    executor_.start_combine(*batch.plan_, options_.gradient_recipe, d_rows, inputs, batch.output);
  }
  void finish_send_backward(CpuBatch&) override { executor_.finish_combine(); }

  PrepareKind kind_;
  Communicator& comm_;
  ExpertPlacement const& placement_;
  PrepareOptions options_;
  CpuExecutor executor_;
};

void check_options(PrepareKind kind, Communicator const& comm, ExpertPlacement const& placement,
                   PrepareOptions const& options) {
  SWITCHYARD_REQUIRE(options.hidden >= 1, invalid_argument, "a hidden size of {}", options.hidden);
  SWITCHYARD_REQUIRE(options.dtype == DType::f32 || options.dtype == DType::bf16 || options.dtype == DType::f16,
                     unsupported, "rows of dtype {}: f32, bf16 and f16 are moved", to_string(options.dtype));
  bool const batched = prepare_traits(kind, options).output_format == RowFormat::batched;
  SWITCHYARD_REQUIRE(!batched || options.max_tokens_per_rank, invalid_argument,
                     "{} delivers fixed batches: give max_tokens_per_rank", to_string(kind));
  SWITCHYARD_REQUIRE(options.max_tokens_per_rank.value_or(0) >= 0, invalid_argument, "at most {} tokens per rank",
                     options.max_tokens_per_rank.value_or(0));
  SWITCHYARD_REQUIRE((options.quantize != QuantizeWhen::never) == options.quant.has_value(), invalid_argument,
                     "{} quantises {} and names {} scheme", to_string(kind), to_string(options.quantize),
                     options.quant ? "a" : "no");
  if (options.quant) options.quant->validate();
  SWITCHYARD_REQUIRE(!is_local(kind) || options.grid.tp == 1, unsupported,
                     "{} with TP size {}: the partial results of TP ranks have to meet", to_string(kind),
                     options.grid.tp);
  for (CombineRecipe const& recipe : {options.recipe, options.gradient_recipe})
    SWITCHYARD_REQUIRE(!is_local(kind) || recipe == CombineRecipe::source_slot_order(), unsupported,
                       "{} sums by source_slot_order, not by {}", to_string(kind), to_string(recipe));
  SWITCHYARD_REQUIRE(comm.size() == options.grid.world(), invalid_argument, "a group of {} ranks for tp {} x ep {}",
                     comm.size(), options.grid.tp, options.grid.ep);
  SWITCHYARD_REQUIRE(placement.num_ranks() == options.grid.ep, invalid_argument,
                     "the placement is for {} ranks, the group has {} EP ranks", placement.num_ranks(),
                     options.grid.ep);
}

PrepareShape shape_of(PrepareKind kind, RankId rank, ExpertPlacement const& placement, PrepareOptions const& options) {
  PrepareShape shape;
  shape.hidden = options.hidden;
  shape.num_experts = placement.num_experts();
  shape.num_local_experts =
      static_cast<int>(placement.rank_slots(options.layer, RankId{options.grid.ep_rank_of(rank)}).size());
  shape.tp = {options.grid.tp_rank_of(rank), options.grid.tp};
  shape.max_tokens_per_rank = options.max_tokens_per_rank;
  shape.num_dispatchers = is_local(kind) ? 1 : options.grid.world();
  return shape;
}

/// [experts] the local slot of every expert that this rank holds; its first one when it holds replicas.
std::vector<std::int32_t> local_map(ExpertPlacement const& placement, int layer, RankId rank) {
  std::vector<std::int32_t> map(to_size(placement.num_experts()), -1);
  auto const slots = placement.rank_slots(layer, rank);
  for (std::size_t slot = slots.size(); slot-- > 0;)
    if (slots[slot].valid()) map[slots[slot].index()] = static_cast<std::int32_t>(slot);
  return map;
}

}  // namespace

std::string_view to_string(PrepareKind kind) noexcept {
  return kNames[static_cast<std::size_t>(kind)];
}

std::optional<PrepareKind> parse_prepare_kind(std::string_view name) noexcept {
  for (PrepareKind const kind : kAllPrepareKinds)
    if (to_string(kind) == name) return kind;
  return std::nullopt;
}

PrepareTraits prepare_traits(PrepareKind kind, PrepareOptions const& options) {
  PrepareTraits traits;
  traits.name = to_string(kind);
  bool const batched = kind == PrepareKind::low_latency || kind == PrepareKind::no_communication_batched;
  traits.output_format = batched ? RowFormat::batched : RowFormat::standard;
  traits.quantize = options.quantize;
  traits.quant = options.quant;
  traits.dtype = options.dtype;
  return traits;
}

std::unique_ptr<PrepareFinalize> make_prepare_finalize(PrepareKind kind, Communicator& comm,
                                                       ExpertPlacement const& placement,
                                                       PrepareOptions const& options) {
  check_options(kind, comm, placement, options);
  PrepareTraits traits = prepare_traits(kind, options);
  PrepareShape const shape = shape_of(kind, comm.rank(), placement, options);
  if (is_local(kind))
    return std::make_unique<LocalPrepare>(local_map(placement, options.layer, comm.rank()), std::move(traits), shape);
  return std::make_unique<DispatchedPrepare>(kind, comm, placement, options, std::move(traits), shape);
}

}  // namespace switchyard::cpu
