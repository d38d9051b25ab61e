// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/incremental.hpp"

#include <algorithm>
#include <limits>
#include <memory>

#include "allotment.hpp"
#include "layer_curve.hpp"
#include "layer_plan.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/balanced.hpp"

namespace switchyard {

namespace {

/// How much better a plan made afresh must be to be offered where single changes get stuck.
constexpr double kFreshPlanGain = 1.01;

void require_start(PolicyRequest const& request, SlotLayout const& layout) {
  SWITCHYARD_REQUIRE(request.current != nullptr, invalid_argument,
                     "the policy incremental improves a placement and the request has none: set the current placement");
  SWITCHYARD_REQUIRE(request.current->layout() == layout, shape_mismatch,
                     "the current placement has {} ranks and {} slots, the request {} and {}, or they are spread "
                     "otherwise: map it to the new ranks first",
                     request.current->num_ranks(), request.current->num_slots(), layout.num_ranks(),
                     layout.num_slots());
}

void require_limits(IncrementalOptions const& options) {
  MoveLimits const& limits = options.limits;
  for (auto const& limit : {limits.max_moves, limits.max_bytes, limits.max_moves_per_layer,
                            limits.max_receives_per_rank, limits.max_sends_per_rank, limits.max_moves_per_link}) {
    SWITCHYARD_REQUIRE(!limit || *limit >= 0, invalid_argument,
                       "a limit of {}: a limit on moves is not negative; leave it out for none", limit.value_or(0));
  }
  SWITCHYARD_REQUIRE(!limits.max_bytes || options.costs.expert_bytes > 0, invalid_argument,
                     "at most {} bytes may move and an expert has {}: give the bytes of an expert",
                     limits.max_bytes.value_or(0), options.costs.expert_bytes);
  TransferCosts const& costs = options.costs;
  for (double const value :
       {costs.local_bytes_per_second, costs.network_bytes_per_second, costs.horizon_steps, costs.seconds_per_figure}) {
    SWITCHYARD_REQUIRE(value >= 0 && value <= std::numeric_limits<double>::max(), invalid_argument,
                       "a bandwidth, horizon or time of {}: it must be finite and not negative", value);
  }
  SWITCHYARD_REQUIRE(options.goal_ratio >= 1, invalid_argument,
                     "a goal of {} times the lower bound cannot be reached: use 1 or more", options.goal_ratio);
}

double gain_seconds(IncrementalLayer const& layer, CurvePoint const& point, TransferCosts const& costs) {
  // Without forced moves the placement in use is what the gain is measured against; it is no choice otherwise.
  double const before = layer.forced_moves > 0 ? layer.curve.front().max_figure : layer.current_figure;
  return (before - point.max_figure) * costs.seconds_per_figure * costs.horizon_steps;
}

/// The point to go for when no limit over all layers stands in the way.
std::int32_t preferred_point(IncrementalLayer const& layer, IncrementalOptions const& options) {
  std::size_t best = 0;
  if (options.costs.horizon_steps > 0) {
    auto const net = [&](std::size_t i) {
      return gain_seconds(layer, layer.curve[i], options.costs) - layer.curve[i].transfer_seconds;
    };
    for (std::size_t i = 1; i < layer.curve.size(); ++i) {
      best = net(i) > net(best) ? i : best;
    }
    return static_cast<std::int32_t>(best);
  }
  double const goal = layer.lower_bound * options.goal_ratio;
  while (best + 1 < layer.curve.size() && layer.curve[best].max_figure > goal) {
    ++best;
  }
  return static_cast<std::int32_t>(best);
}

std::int64_t moves_allowed(IncrementalOptions const& options) {
  std::int64_t moves = options.limits.max_moves.value_or(std::numeric_limits<std::int64_t>::max());
  if (options.limits.max_bytes) {
    moves = std::min(moves, *options.limits.max_bytes / options.costs.expert_bytes);
  }
  return moves;
}

/// Settles `chosen` of every layer.
void choose_points(std::vector<IncrementalLayer>& layers, IncrementalOptions const& options) {
  std::vector<std::int32_t> preferred;
  std::int64_t moves = 0;
  for (auto const& layer : layers) {
    preferred.push_back(preferred_point(layer, options));
    moves += layer.curve[to_size(preferred.back())].moves;
  }
  if (std::int64_t const allowed = moves_allowed(options); moves > allowed) {
    placement::MoveAllotment allotment(layers, preferred);
    while (allotment.advance(allowed)) {
    }
    preferred = allotment.point().layer_points;
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i].chosen = preferred[i];
    layers[i].gain_seconds = gain_seconds(layers[i], layers[i].curve[to_size(preferred[i])], options.costs);
  }
}

/// Plans layer by layer; the objects behind a task live as long as this one.
class IncrementalPlanner {
 public:
  IncrementalPlanner(ExpertLoad const& load, PolicyRequest const& request, IncrementalOptions const& options)
      : request_(request),
        options_(options),
        load_(placement::planning_load(load, request)),
        cluster_(placement::cluster_of(request, load.num_experts())) {}

  IncrementalResult plan() {
    IncrementalResult result;
    std::int64_t spare_moves = moves_for_duplicates();
    for (int layer = 0; layer < load_.num_layers(); ++layer) {
      auto figures = figures_of(layer);
      auto task = task_of(layer, figures);
      task.duplicate_fetches = spare_moves;
      result.layers.push_back(placement::trace_curve(task, options_));
      IncrementalLayer const& traced = result.layers.back();
      spare_moves -= std::max<std::int64_t>(0, traced.curve.front().moves - traced.forced_moves);
      if (is_stuck(result.layers.back())) {
        offer_fresh_plan(layer, task, result.layers.back());
      }
    }
    choose_points(result.layers, options_);
    note_duplicates(result.layers);
    PlanPoint point;
    for (auto const& layer : result.layers) {
      point.layer_points.push_back(layer.chosen);
    }
    result.placement = *request_.current;
    result.placement = placement_at(result, point);
    add_fetches(result);
    return result;
  }

 private:
  /// What the limits over all layers leave for duplicates beside the forced moves.
  [[nodiscard]] std::int64_t moves_for_duplicates() const {
    std::int64_t allowed = moves_allowed(options_);
    bool const has_limit = options_.limits.max_moves || options_.limits.max_bytes;
    if (options_.keep_duplicates || options_.costs.horizon_steps > 0) {
      return 0;
    }
    for (int layer = 0; has_limit && layer < load_.num_layers(); ++layer) {
      auto figures = figures_of(layer);
      allowed -= placement::forced_fetches(task_of(layer, figures));
    }
    return std::clamp<std::int64_t>(allowed, 0, std::int64_t{load_.num_layers()} * std::ssize(cluster_.rank_of_slot));
  }

  void note_duplicates(std::vector<IncrementalLayer>& layers) const {
    for (int layer = 0; layer < load_.num_layers(); ++layer) {
      auto figures = figures_of(layer);
      IncrementalLayer& chosen = layers[to_size(layer)];
      chosen.duplicates_left =
          placement::count_duplicates(task_of(layer, figures), chosen.curve[to_size(chosen.chosen)].slots);
      if (chosen.duplicates_left == 0) {
        chosen.duplicates_kept = DuplicatesKept::none;
      } else if (options_.keep_duplicates) {
        chosen.duplicates_kept = DuplicatesKept::asked;
      } else if (options_.costs.horizon_steps > 0) {
        chosen.duplicates_kept = DuplicatesKept::horizon;
      }
    }
  }

  placement::SlotFigures figures_of(int layer) const {
    return {request_.objective, load_, layer, cluster_.num_slots() + 1};
  }

  placement::LayerTask task_of(int layer, placement::SlotFigures& figures) const {
    auto const fill = to_size(slots_to_fill(request_, layer));
    return {&cluster_,
            &figures,
            placement::slots_of_layer(*request_.current, layer, cluster_),
            fill,
            placement::search_bound(cluster_, request_.objective, load_, layer, fill),
            request_.objective.kind != ObjectiveKind::tokens,
            0};
  }

  /// The search of single changes ended above its goal although moves were left.
  [[nodiscard]] bool is_stuck(IncrementalLayer const& layer) const {
    CurvePoint const& last = layer.curve.back();
    auto const all = static_cast<std::int64_t>(cluster_.num_slots());
    bool const has_moves_left = last.moves + 2 < options_.limits.max_moves_per_layer.value_or(all);
    return has_moves_left && last.max_figure > layer.lower_bound * options_.goal_ratio * kFreshPlanGain &&
           !cluster_.has_node_limits();
  }

  /// A plan of the policy balanced ends the curve if it is better by enough to be worth its many moves.
  void offer_fresh_plan(int layer, placement::LayerTask const& task, IncrementalLayer& curve) const {
    PolicyRequest request = request_;
    request.window = {};  // the load is reduced already
    if (!request_.layer_slots.empty()) {
      request.layer_slots = {slots_to_fill(request_, layer)};
    }
    auto const slots = request_.current->layer(layer);
    request.current = std::make_shared<ExpertPlacement const>(1, load_.num_experts(), request_.current->layout(),
                                                              std::vector<ExpertId>(slots.begin(), slots.end()));
    std::vector<double> values;
    for (int step = 0; step < load_.num_steps(); ++step) {
      auto const loads = load_.at(step, layer);
      values.insert(values.end(), loads.begin(), loads.end());
    }
    auto const fresh = balance(ExpertLoad(load_.num_steps(), 1, load_.num_experts(), std::move(values)), request);
    if (fresh.layers.front().max_figure * kFreshPlanGain < curve.curve.back().max_figure) {
      auto const found = fresh.placement.layer(0);
      placement::offer_point(task, options_, {found.begin(), found.end()}, curve);
    }
  }

  void add_fetches(IncrementalResult& result) const {
    for (int layer = 0; layer < load_.num_layers(); ++layer) {
      auto figures = figures_of(layer);
      auto const& chosen = result.layers[to_size(layer)];
      auto const fetches =
          placement::fetches_of(task_of(layer, figures), options_, layer, chosen.curve[to_size(chosen.chosen)].slots);
      result.fetches.insert(result.fetches.end(), fetches.begin(), fetches.end());
    }
  }

  PolicyRequest const& request_;
  IncrementalOptions const& options_;
  ExpertLoad load_;
  placement::Cluster cluster_;
};

}  // namespace

std::string_view to_string(DuplicatesKept reason) noexcept {
  switch (reason) {
    case DuplicatesKept::none: return "none";
    case DuplicatesKept::move_limits: return "move_limits";
    case DuplicatesKept::no_legal_change: return "no_legal_change";
    case DuplicatesKept::horizon: return "horizon";
    case DuplicatesKept::asked: return "asked";
  }
  return "unknown";
}

IncrementalResult improve_placement(ExpertLoad const& load, PolicyRequest const& request,
                                    IncrementalOptions const& options) {
  validate(request, load.num_layers(), load.num_experts());
  require_start(request, slot_layout_of(request));
  require_limits(options);
  return IncrementalPlanner(load, request, options).plan();
}

std::vector<PlanPoint> pareto_points(IncrementalResult const& result) {
  std::vector<std::int32_t> last;
  for (auto const& layer : result.layers) {
    last.push_back(static_cast<std::int32_t>(layer.curve.size()) - 1);
  }
  placement::MoveAllotment allotment(result.layers, std::move(last));
  std::vector<PlanPoint> points{allotment.point()};
  while (allotment.advance(std::numeric_limits<std::int64_t>::max())) {
    points.push_back(allotment.point());
  }
  return points;
}

ExpertPlacement placement_at(IncrementalResult const& result, PlanPoint const& point) {
  SWITCHYARD_REQUIRE(point.layer_points.size() == result.layers.size(), invalid_argument,
                     "a point of {} layers for a plan of {}", point.layer_points.size(), result.layers.size());
  std::vector<ExpertId> slots;
  for (std::size_t layer = 0; layer < result.layers.size(); ++layer) {
    auto const& curve = result.layers[layer].curve;
    auto const index = to_size(point.layer_points[layer]);
    SWITCHYARD_REQUIRE(index < curve.size(), invalid_argument, "point {} of layer {}, whose curve has {}",
                       point.layer_points[layer], layer, curve.size());
    slots.insert(slots.end(), curve[index].slots.begin(), curve[index].slots.end());
  }
  ExpertPlacement const& model = result.placement;
  return ExpertPlacement(model.num_layers(), model.num_experts(), model.layout(), std::move(slots));
}

}  // namespace switchyard
