// SPDX-License-Identifier: Apache-2.0
#include "layer_curve.hpp"

#include <algorithm>
#include <limits>
#include <map>

#include "../bounds/keep_slots.hpp"
#include "descent.hpp"
#include "layer_plan.hpp"
#include "move_path.hpp"
#include "senders.hpp"

namespace switchyard::placement {

namespace {

/// A point must be better by more than rounding.
constexpr double kLeastGain = 1e-9;

/// From one threshold's excess over the bound to the next coarser one's.
constexpr double kSweepFactor = 3;

/// Senders within the caps; forced moves may exceed them, because an expert without a live slot serves nobody.
std::vector<Fetch> senders_of(LayerState const& state, FetchCount const& fetches, MoveLimits const& limits) {
  auto const within = choose_senders(state, fetches, limits);
  return within ? *within : choose_senders(state, fetches, MoveLimits{}).value();
}

bool has_caps(MoveLimits const& limits) {
  return limits.max_receives_per_rank || limits.max_sends_per_rank || limits.max_moves_per_link;
}

/// The best slot for an expert that has none: an empty one, or one of an expert with several.
std::size_t best_slot_for(LayerState const& state, std::size_t expert, std::size_t filled, std::size_t slots_to_fill) {
  std::size_t best = kNone;
  double best_value = std::numeric_limits<double>::infinity();
  for (std::size_t const rank : state.cluster().live) {
    for (std::size_t slot = state.cluster().first_slot[rank]; slot < state.cluster().first_slot[rank + 1]; ++slot) {
      if (may_retarget(state, slot, expert, filled, slots_to_fill)) {
        double const value = value_after_retarget(state, slot, expert, best_value);
        if (value < best_value) {
          best = slot;
          best_value = value;
        }
      }
    }
  }
  return best;
}

std::size_t count_filled(LayerState const& state) {
  return state.slots().size() - static_cast<std::size_t>(std::count(state.slots().begin(), state.slots().end(), kNone));
}

/// Gives every expert a slot, the heaviest first, and empties slots beyond the budget, the lightest spare replica
/// first.
void make_servable(LayerState& state, FetchCount& fetches, std::size_t slots_to_fill) {
  std::vector<std::size_t> missing;
  for (std::size_t expert = 0; expert < state.cluster().num_experts; ++expert) {
    if (state.replicas(expert) == 0) {
      missing.push_back(expert);
    }
  }
  std::stable_sort(missing.begin(), missing.end(),
                   [&](std::size_t a, std::size_t b) { return state.figure_with(a, 1) > state.figure_with(b, 1); });
  auto const give = [&](std::size_t slot, std::size_t expert) {
    Change const change{Change::Kind::retarget, slot, kNone, kNone, expert, 0};
    fetches.add(state, change);
    apply(state, change);
  };
  for (std::size_t const expert : missing) {
    std::size_t const slot = best_slot_for(state, expert, count_filled(state), slots_to_fill);
    if (slot != kNone) {
      give(slot, expert);
    }
  }
  while (count_filled(state) > slots_to_fill) {
    std::size_t lightest = kNone;
    for (std::size_t slot = 0; slot < state.slots().size(); ++slot) {
      std::size_t const expert = state.expert_at(slot);
      if (expert != kNone && state.replicas(expert) > 1 &&
          (lightest == kNone || state.share(expert) < state.share(state.expert_at(lightest)))) {
        lightest = slot;
      }
    }
    give(lightest, kNone);
  }
}

double mean_value(LayerState const& state) {
  double work = 0;
  double speed = 0;
  for (std::size_t const rank : state.cluster().live) {
    work += state.sum(rank);
    speed += state.cluster().speed[rank];
  }
  return work / speed;
}

/// The points seen so far, the best for every number of moves.
class PointCollector {
 public:
  explicit PointCollector(LayerTask const& task, IncrementalOptions const& options) : task_(task), options_(options) {}

  void see(LayerState const& state, FetchCount const& fetches) {
    double const value = state.max_value();
    auto const next = best_.upper_bound(fetches.total());
    if (next != best_.begin() && std::prev(next)->second.max_figure <= value) {
      return;
    }
    CurvePoint point{fetches.total(), value, 0, {}};
    if (options_.costs.local_bytes_per_second > 0 || options_.costs.network_bytes_per_second > 0) {
      point.transfer_seconds =
          transfer_seconds(*task_.cluster, senders_of(state, fetches, options_.limits), options_.costs);
    }
    append_layer(state.slots(), point.slots);
    best_.insert_or_assign(point.moves, std::move(point));
  }

  /// Moves rising, figures falling.
  std::vector<CurvePoint> curve() {
    std::vector<CurvePoint> points;
    for (auto& [moves, point] : best_) {
      if (points.empty() || point.max_figure < points.back().max_figure * (1 - kLeastGain)) {
        points.push_back(std::move(point));
        points.back().slots = with_slots_kept(points.back().slots);
      }
    }
    return points;
  }

 private:
  /// Experts that stayed on a rank or came back to it stand where they stood.
  [[nodiscard]] std::vector<ExpertId> with_slots_kept(std::vector<ExpertId> const& slots) const {
    std::vector<ExpertId> current;
    append_layer(task_.current, current);
    std::vector<ExpertId> kept(slots.size(), kNoExpert);
    for (std::size_t const rank : task_.cluster->live) {
      std::size_t const first = task_.cluster->first_slot[rank];
      std::size_t const count = task_.cluster->first_slot[rank + 1] - first;
      place_contents(std::span(current).subspan(first, count), std::span(slots).subspan(first, count),
                     std::span(kept).subspan(first, count));
    }
    return kept;
  }

  LayerTask const& task_;
  IncrementalOptions const& options_;
  std::map<std::int64_t, CurvePoint> best_{};
};

/// Falling thresholds that end at the goal, each with a third of the excess of the one before; none above `now`.
std::vector<double> thresholds(double now, double goal, double bound, int max_sweeps) {
  std::vector<double> list;
  for (double threshold = goal; threshold < now && list.size() < static_cast<std::size_t>(std::max(1, max_sweeps));
       threshold = bound + kSweepFactor * (threshold - bound)) {
    list.push_back(threshold);
    if (threshold <= bound) {
      break;
    }
  }
  std::reverse(list.begin(), list.end());
  return list;
}

/// One path per threshold, all from the same start.
class CurveTracer {
 public:
  CurveTracer(LayerTask const& task, IncrementalOptions const& options)
      : task_(task),
        options_(options),
        start_(*task.cluster, *task.figures, task.current),
        start_fetches_(start_),
        points_(task, options) {}

  IncrementalLayer trace() {
    IncrementalLayer layer;
    layer.current_figure = start_.max_value();
    make_servable(start_, start_fetches_, task_.slots_to_fill);
    layer.forced_moves = start_fetches_.total();
    layer.lower_bound = task_.lower_bound > 0 ? task_.lower_bound : mean_value(start_);
    points_.see(start_, start_fetches_);
    double const goal = layer.lower_bound * options_.goal_ratio;
    for (double const threshold : thresholds(start_.max_value(), goal, layer.lower_bound, options_.max_sweeps)) {
      sweep(threshold, layer.lower_bound);
    }
    layer.curve = points_.curve();
    return layer;
  }

 private:
  [[nodiscard]] std::int64_t max_fetches() const {
    auto const all = static_cast<std::int64_t>(task_.cluster->num_slots());
    return std::max(start_fetches_.total(), std::min(all, options_.limits.max_moves_per_layer.value_or(all)));
  }

  void sweep(double threshold, double bound) {
    LayerState state = start_;
    FetchCount fetches = start_fetches_;
    MovePathOptions path;
    path.threshold = threshold;
    path.level = bound > 0 ? bound : 1;
    path.max_fetches = max_fetches();
    path.max_steps = 2 * path.max_fetches + 16;
    path.slots_to_fill = task_.slots_to_fill;
    path.may_empty = task_.may_empty;
    FetchFilter filter = nullptr;
    if (has_caps(options_.limits)) {
      filter = [this](LayerState const& now, FetchCount const& so_far) {
        return choose_senders(now, so_far, options_.limits).has_value();
      };
    }
    follow_path(state, fetches, path, filter,
                [this](LayerState const& now, FetchCount const& so_far) { points_.see(now, so_far); });
    polish(state, fetches, threshold, filter);
  }

  /// Where a path got stuck above its threshold, the search without regard to fetches may go on.
  void polish(LayerState& state, FetchCount const& fetches, double threshold, FetchFilter const& filter) {
    if (state.max_value() <= threshold) {
      return;
    }
    DescentOptions descent;
    descent.target = threshold;
    descent.max_steps = 64;
    descent.slots_to_fill = task_.slots_to_fill;
    descent.may_empty = task_.may_empty;
    if (descend(state, descent) > 0) {
      FetchCount const after = fetches.recounted(state);
      if (after.total() <= max_fetches() && (!filter || filter(state, after))) {
        points_.see(state, after);
      }
    }
  }

  LayerTask const& task_;
  IncrementalOptions const& options_;
  LayerState start_;
  FetchCount start_fetches_;
  PointCollector points_;
};

}  // namespace

IncrementalLayer trace_curve(LayerTask const& task, IncrementalOptions const& options) {
  return CurveTracer(task, options).trace();
}

std::vector<PlannedFetch> fetches_of(LayerTask const& task, IncrementalOptions const& options, int layer,
                                     std::vector<ExpertId> const& slots) {
  std::vector<std::size_t> target;
  for (ExpertId const expert : slots) {
    target.push_back(expert.valid() ? expert.index() : kNone);
  }
  LayerState const current(*task.cluster, *task.figures, task.current);
  LayerState const state(*task.cluster, *task.figures, std::move(target));
  FetchCount const fetches = FetchCount(current).recounted(state);
  auto const rank_id = [](std::size_t rank) { return RankId(rank == kNone ? -1 : static_cast<std::int32_t>(rank)); };
  std::vector<PlannedFetch> planned;
  for (Fetch const& fetch : senders_of(state, fetches, options.limits)) {
    planned.push_back(
        {layer, ExpertId(static_cast<std::int32_t>(fetch.expert)), rank_id(fetch.from), rank_id(fetch.to)});
  }
  return planned;
}

}  // namespace switchyard::placement
