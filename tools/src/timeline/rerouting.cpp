// SPDX-License-Identifier: Apache-2.0
#include "timeline/rerouting.hpp"

#include <fmt/format.h>

#include <optional>
#include <variant>

namespace switchyard::cli {
namespace {

LayerSlots slots_of(ExpertPlacement const& placement, int layer) {
  LayerSlots slots;
  for (int rank = 0; rank < placement.num_ranks(); ++rank)
    slots.per_rank.push_back(placement.layout().slots_of(RankId(rank)));
  for (ExpertId const expert : placement.layer(layer)) slots.experts.push_back(expert.value());
  return slots;
}

/// Writes the slots into the calls of all ranks.
void set_slots(std::vector<DispatchRecording>& calls, LayerSlots const& slots, int layer) {
  for (DispatchRecording& call : calls) {
    call.layer = layer;
    call.slots_per_rank = slots.per_rank;
    call.slot_to_expert = slots.experts;
  }
}

/// What a plan says about its call, without tokens.
DispatchRecording call_without_tokens(DispatchPlan const& plan) {
  DispatchRecording call;
  call.rank = plan.rank;
  call.family = plan.setup.family;
  call.grid = plan.setup.grid;
  if (call.family == DispatchFamily::megablocks)
    call.grid = {plan.setup.hidden_shards, plan.setup.grid.world() / plan.setup.hidden_shards};
  call.bins.kind = plan.setup.bins;
  call.bins.block_rows = plan.setup.block_rows;
  call.num_experts = plan.setup.num_experts;
  call.row_order = plan.setup.row_order;
  call.routing = RoutingMap::from_topk(0, call.num_experts, 0, {}, {});
  return call;
}

/// Plans say which slots tokens go to; a map of the same digest says which experts those are.
class SlotFinder {
 public:
  explicit SlotFinder(std::vector<DispatchPlan> const& plans) : wanted_(plans.front().setup) {
    for (DispatchPlan const& plan : plans) empty_.push_back(call_without_tokens(plan));
  }

  /// @return the slots of the first map that fits.
  [[nodiscard]] std::optional<LayerSlots> find(RebalancePlan const& move) {
    auto const blocks = slots_of(ExpertPlacement::contiguous(1, wanted_.num_experts, empty_.front().grid.ep), 0);
    if (fits(blocks)) return blocks;
    for (ExpertPlacement const* placement : {&move.before, &move.after})
      for (int layer = 0; layer < placement->num_layers(); ++layer)
        if (auto const slots = slots_of(*placement, layer); fits(slots)) return slots;
    return std::nullopt;
  }

 private:
  [[nodiscard]] bool fits(LayerSlots const& slots) {
    if (slots.experts.size() != static_cast<std::size_t>(wanted_.num_slots) ||
        slots.per_rank.size() != static_cast<std::size_t>(empty_.front().grid.ep))
      return false;
    set_slots(empty_, slots, 0);
    return reference_plans(empty_).front().setup.placement == wanted_.placement;
  }

  DispatchSetup wanted_;
  std::vector<DispatchRecording> empty_;
};

/// The choices of a rank's tokens, each in its column: rows lie by slot, and a row names its token and column.
RoutingMap routing_of(DispatchPlan const& plan, std::vector<std::int32_t> const& expert_of_slot) {
  auto const& rows = std::get<RowGather>(return_path(plan).front());
  auto const columns = static_cast<std::size_t>(plan.slot_columns);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(plan.num_tokens) * columns, -1);
  std::size_t row = 0;
  for (std::size_t slot = 0; slot < plan.rows_per_slot.size(); ++slot)
    for (std::int64_t i = 0; i < plan.rows_per_slot[slot]; ++i, ++row)
      ids[static_cast<std::size_t>(rows.token_of_row[row]) * columns +
          static_cast<std::size_t>(rows.slot_of_row[row])] = expert_of_slot[slot];
  std::vector<float> weights(ids.size(), 0.0F);
  return RoutingMap::from_topk(plan.num_tokens, plan.setup.num_experts, static_cast<int>(columns), std::move(ids),
                               std::move(weights));
}

/// The calls of the ranks, with the slots that their plans were made for.
std::vector<DispatchRecording> calls_of(std::vector<DispatchPlan> const& plans, RebalancePlan const& move,
                                        std::string const& file) {
  if (plans.front().setup.bins == ExpertBins::capacity)
    throw UsageError(
        fmt::format("{} fills bins of a capacity, and a plan does not say which: give the dispatcher's "
                    "recording instead, or --keep-traffic",
                    file));
  auto const slots = SlotFinder(plans).find(move);
  if (!slots)
    throw UsageError(
        fmt::format("{} does not say which experts its slots hold, and they are those of no map of --move, "
                    "nor contiguous blocks: plan the dispatch with the placement that the move starts "
                    "from, or give --keep-traffic",
                    file));
  std::vector<DispatchRecording> calls;
  for (DispatchPlan const& plan : plans) {
    calls.push_back(call_without_tokens(plan));
    calls.back().routing = routing_of(plan, slots->experts);
    calls.back().capacity = plan.capacity;
  }
  set_slots(calls, *slots, plans.front().setup.layer);
  return calls;
}

int experts_of(TimedPlans const& plans) {
  if (plans.routed) return plans.routed->placement.num_experts();
  return plans.dispatch.front().setup.num_experts;
}

}  // namespace

Rerouting::Rerouting(TimedPlans const& plans, RebalancePlan const& move, std::string const& file,
                     ParsedOptions const& options) {
  if (experts_of(plans) != move.after.num_experts())
    throw UsageError(fmt::format("{} is of {} experts, --move of {}: give plans of one model, or --keep-traffic", file,
                                 experts_of(plans), move.after.num_experts()));
  if (plans.routed && options.has("placement"))
    throw UsageError("--placement beside --move: the move says where experts lie, leave --placement out");
  if (plans.routed) {
    routed_ = &*plans.routed;
    return;
  }
  calls_ = plans.recorded.empty() ? calls_of(plans.dispatch, move, file) : plans.recorded;
  DispatchRecording const& call = calls_.front();
  origin_ = {call.slots_per_rank, call.slot_to_expert};
  if (origin_.per_rank.empty()) origin_ = slots_of(ExpertPlacement::contiguous(1, call.num_experts, call.grid.ep), 0);
}

bool Rerouting::is_of(ExpertPlacement const& placement, int layer) const {
  return routed_ == nullptr && slots_of(placement, layer) == origin_;
}

TimedPlans Rerouting::under(ExpertPlacement const& placement, int layer) const {
  TimedPlans plans;
  if (routed_ != nullptr) {
    plans.routed = RoutedTokens{routed_->routings, placement, layer, {}};
    return plans;
  }
  auto calls = calls_;
  set_slots(calls, slots_of(placement, layer), layer);
  plans.group = true;
  plans.dispatch = reference_plans(calls);
  return plans;
}

}  // namespace switchyard::cli
