// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/balanced.hpp"

#include <algorithm>
#include <limits>
#include <optional>

#include "descent.hpp"
#include "duplicates.hpp"
#include "kick.hpp"
#include "layer_plan.hpp"
#include "replica_search.hpp"
#include "start.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/policy.hpp"

namespace switchyard {

namespace {

using placement::Cluster;
using placement::count_duplicates;
using placement::Draws;
using placement::kick;
using placement::kNone;
using placement::LayerState;
using placement::SlotFigures;

/// DeepSeek's plans that a request admits.
std::vector<ExpertPlacement> deepseek_plans(ExpertLoad const& load, PolicyRequest const& request) {
  RequestParts const asked = requested_parts(request);
  bool const needs_more = asked.has(RequestPart::slot_layout) || asked.has(RequestPart::rank_speeds) ||
                          asked.has(RequestPart::dead_ranks) || asked.has(RequestPart::layer_slots) ||
                          asked.has(RequestPart::objective);
  bool const fits_float32 = std::all_of(load.values().begin(), load.values().end(), [](double value) {
    return value <= static_cast<double>(std::numeric_limits<float>::max());
  });
  if (needs_more || !fits_float32 || request.num_slots % request.num_ranks != 0) {
    return {};
  }
  bool const has_limits = request.max_nodes_per_group > 0 || request.max_nodes_per_expert > 0;
  bool const fits_nodes = load.num_experts() % request.num_groups == 0 && request.num_groups % request.num_nodes == 0 &&
                          request.num_ranks % request.num_nodes == 0;
  std::vector<ExpertPlacement> plans;
  if (!has_limits) {
    plans.push_back(deepseek_rebalance(load, request, false).placement);
  }
  if (fits_nodes && (has_limits || request.num_nodes > 1)) {
    plans.push_back(deepseek_rebalance(load, request, true).placement);
  }
  return plans;
}

/// Plans one layer.
class LayerBalancer {
 public:
  LayerBalancer(Cluster const& cluster, PolicyRequest const& request, ExpertLoad const& load, int layer,
                BalancedOptions const& options)
      : cluster_(cluster),
        options_(options),
        layer_(layer),
        slots_to_fill_(to_size(slots_to_fill(request, layer))),
        figures_(request.objective, load, layer, cluster.max_replicas() + 1),
        target_(std::max(placement::search_bound(cluster, request.objective, load, layer, slots_to_fill_),
                         cluster.idle_value) *
                (1 + options.tolerance)),
        good_enough_(target_ * (1 + options.good_enough)),
        may_empty_(request.objective.kind != ObjectiveKind::tokens) {}

  BalancedLayer plan(std::vector<ExpertPlacement> const& deepseek) {
    auto const baseline = best_of(deepseek);
    try_start(placement::greedy_start(cluster_, figures_, slots_to_fill_));
    if (needs_more() && !cluster_.has_node_limits()) {
      try_other_replicas();
    }
    if (baseline && best_->max_value() > baseline->max_value()) {
      LayerState start = *baseline;
      placement::remove_duplicates(start);
      try_start(std::move(start));
    }
    try_kicks();
    report_.max_figure = best_->max_value();
    if (baseline) {
      report_.deepseek_max_figure = baseline->max_value();
      report_.deepseek_duplicates = count_duplicates(*baseline);
      report_.duplicates_alone_win =
          report_.deepseek_duplicates > 0 && report_.deepseek_max_figure < report_.max_figure;
    }
    return report_;
  }

  [[nodiscard]] std::vector<std::size_t> const& slots() const { return best_->slots(); }

 private:
  [[nodiscard]] bool needs_more() const { return best_->max_value() > good_enough_; }

  std::optional<LayerState> best_of(std::vector<ExpertPlacement> const& plans) {
    std::optional<LayerState> best;
    for (auto const& plan : plans) {
      LayerState state(cluster_, figures_, placement::slots_of_layer(plan, layer_, cluster_));
      if (!best || state.max_value() < best->max_value()) {
        best = std::move(state);
      }
    }
    return best;
  }

  void try_start(LayerState state) {
    placement::DescentOptions options;
    options.target = target_;
    options.max_steps = options_.max_steps;
    options.slots_to_fill = slots_to_fill_;
    options.may_empty = may_empty_;
    report_.steps += placement::descend(state, options);
    if (!best_ || state.max_value() < best_->max_value()) {
      best_ = std::move(state);
    }
  }

  void try_other_replicas() {
    std::vector<std::size_t> replicas;
    for (std::size_t expert = 0; expert < cluster_.num_experts; ++expert) {
      replicas.push_back(best_->replicas(expert));
    }
    auto const other = placement::search_replicas(cluster_, figures_, replicas, options_.pack_work, good_enough_);
    std::vector<std::size_t> slots(cluster_.num_slots(), kNone);
    auto const domain = placement::domains_of(cluster_, figures_, slots_to_fill_).front();
    placement::pack(cluster_, figures_, domain, other, slots);
    try_start(LayerState(cluster_, figures_, std::move(slots)));
  }

  void try_kicks() {
    Draws draws{CounterRng(static_cast<std::uint64_t>(layer_))};
    std::int64_t const rounds = options_.kick_work / static_cast<std::int64_t>(cluster_.num_slots());
    for (std::int64_t round = 0; round < rounds && needs_more(); ++round) {
      LayerState state = *best_;
      kick(state, draws);
      try_start(std::move(state));
    }
  }

  Cluster const& cluster_;
  BalancedOptions options_;
  int layer_;
  std::size_t slots_to_fill_;
  SlotFigures figures_;
  double target_;
  double good_enough_;
  bool may_empty_;
  std::optional<LayerState> best_{};
  BalancedLayer report_{};
};

void require_same_slots(PolicyRequest const& request, SlotLayout const& layout) {
  SWITCHYARD_REQUIRE(request.current == nullptr || request.current->layout() == layout, shape_mismatch,
                     "the current placement has {} ranks and {} slots, the request {} and {}, or they are spread "
                     "otherwise: map it to the new ranks first",
                     request.current->num_ranks(), request.current->num_slots(), layout.num_ranks(),
                     layout.num_slots());
}

/// Blocks of ranks inside which contents may change hands: all ranks, with node limits those of a node, and single
/// ranks where nodes are unequal.
int blocks_of_renaming(PolicyRequest const& request) {
  bool const has_limits = request.max_nodes_per_group > 0 || request.max_nodes_per_expert > 0;
  if (!has_limits) {
    return 1;
  }
  return request.num_ranks % request.num_nodes == 0 ? request.num_nodes : request.num_ranks;
}

}  // namespace

BalancedResult balance(ExpertLoad const& load, PolicyRequest const& request, BalancedOptions const& options) {
  validate(request, load.num_layers(), load.num_experts());
  SlotLayout const layout = slot_layout_of(request);
  require_same_slots(request, layout);
  ExpertLoad const planned = placement::planning_load(load, request);
  Cluster const cluster = placement::cluster_of(request, load.num_experts());
  auto const deepseek = deepseek_plans(planned, request);
  std::vector<BalancedLayer> layers;
  std::vector<ExpertId> slot_to_expert;
  for (int layer = 0; layer < load.num_layers(); ++layer) {
    LayerBalancer balancer(cluster, request, planned, layer, options);
    layers.push_back(balancer.plan(deepseek));
    placement::append_layer(balancer.slots(), slot_to_expert);
  }
  ExpertPlacement result(load.num_layers(), load.num_experts(), layout, std::move(slot_to_expert));
  if (request.current != nullptr) {
    result = relabel_ranks(*request.current, result, serving_speeds(request), blocks_of_renaming(request));
  }
  return {std::move(result), std::move(layers)};
}

}  // namespace switchyard
