// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/prepare_options.hpp"

#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/internal/prepare_pair.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

constexpr std::array<std::string_view, kAllPrepareKinds.size()> kNames = {
    "no_communication", "no_communication_batched", "allgather", "alltoall", "flex", "low_latency"};

template <typename Config>
Config config_of(PrepareOptions const& options) {
  Config config;
  config.grid = options.grid;
  return config;
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

namespace internal {

bool is_local(PrepareKind kind) noexcept {
  return kind == PrepareKind::no_communication || kind == PrepareKind::no_communication_batched;
}

DispatchPlan plan_prepare(PrepareKind kind, Communicator& comm, RoutingMap const& routing,
                          ExpertPlacement const& placement, PrepareOptions const& options) {
  if (kind == PrepareKind::allgather)
    return plan_allgather(comm, config_of<AllGatherConfig>(options), routing, placement, options.layer);
  if (kind == PrepareKind::flex)
    return plan_flex(comm, config_of<FlexConfig>(options), routing, placement, options.layer);
  auto alltoall = config_of<AllToAllConfig>(options);
  alltoall.row_order = RowOrder::rank_major;
  return plan_alltoall(comm, alltoall, routing, placement, options.layer);
}

void check_prepare_options(PrepareKind kind, Communicator const& comm, ExpertPlacement const& placement,
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

PrepareShape prepare_shape(PrepareKind kind, RankId rank, ExpertPlacement const& placement,
                           PrepareOptions const& options) {
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

std::vector<std::int32_t> local_expert_map(ExpertPlacement const& placement, int layer, RankId rank) {
  std::vector<std::int32_t> map(to_size(placement.num_experts()), -1);
  auto const slots = placement.rank_slots(layer, rank);
  for (std::size_t slot = slots.size(); slot-- > 0;)
    if (slots[slot].valid()) map[slots[slot].index()] = static_cast<std::int32_t>(slot);
  return map;
}

void check_prepare_routing(PrepareTraits const& traits, PrepareShape const& shape, PrepareInputs const& inputs) {
  SWITCHYARD_REQUIRE(inputs.routing != nullptr && inputs.routing->form() == RoutingForm::topk, invalid_argument,
                     "{} takes a top-k routing: convert a dense one with to_topk()", traits.name);
  RoutingMap const& routing = *inputs.routing;
  SWITCHYARD_REQUIRE(routing.num_experts() == shape.num_experts, shape_mismatch,
                     "the routing is over {} experts, {} over {}", routing.num_experts(), traits.name,
                     shape.num_experts);
  SWITCHYARD_REQUIRE(routing.num_tokens() == 0 || inputs.tokens.dtype() == traits.dtype, shape_mismatch,
                     "tokens are {}, {} moves {}", to_string(inputs.tokens.dtype()), traits.name,
                     to_string(traits.dtype));
  SWITCHYARD_REQUIRE(!shape.max_tokens_per_rank || routing.num_tokens() <= *shape.max_tokens_per_rank, invalid_argument,
                     "{} tokens on this rank, {} takes {}: raise the maximum or split the batch", routing.num_tokens(),
                     traits.name, shape.max_tokens_per_rank.value_or(0));
  SWITCHYARD_REQUIRE(!inputs.router_weight_on_input || routing.top_k() == 1, invalid_argument,
                     "router weights on the input with top_k {}: a token has one input, so only top_k 1 can do that",
                     routing.top_k());
}

PacketSizes packet_sizes(std::int64_t hidden, DType dtype, std::optional<QuantSpec> const& quant) {
  constexpr std::int64_t kPacketAlignment = 16;
  PacketSizes sizes;
  if (!quant) {
    sizes.row_bytes = checked_mul(hidden, size_of(dtype));
    return sizes;
  }
  QuantSizes const row = quant_sizes(quant->layout(), 1, hidden);
  sizes.code_bytes = row.code_row_bytes;
  sizes.scale_bytes = quant->scales_per_row() ? row.scale_bytes : 0;
  sizes.row_bytes = (sizes.code_bytes + sizes.scale_bytes + kPacketAlignment - 1) / kPacketAlignment * kPacketAlignment;
  return sizes;
}

}  // namespace internal
}  // namespace switchyard
