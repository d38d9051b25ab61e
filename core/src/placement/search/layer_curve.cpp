// SPDX-License-Identifier: Apache-2.0
#include "layer_curve.hpp"

#include <algorithm>
#include <limits>
#include <map>

#include "../bounds/keep_slots.hpp"
#include "descent.hpp"
#include "duplicates.hpp"
#include "layer_plan.hpp"
#include "move_path.hpp"
#include "repair.hpp"
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

std::vector<std::size_t> experts_of(std::vector<ExpertId> const& slots) {
  std::vector<std::size_t> experts;
  for (ExpertId const expert : slots) {
    experts.push_back(expert.valid() ? expert.index() : kNone);
  }
  return experts;
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
    make_servable(start_, *task_.figures, task_.slots_to_fill);
    start_fetches_ = start_fetches_.recounted(start_);
    layer.forced_moves = start_fetches_.total();
    layer.duplicates_before = count_duplicates(LayerState(*task_.cluster, *task_.figures, task_.current));
    layer.duplicates_kept = settle_duplicates_first();
    layer.lower_bound =
        std::max(task_.lower_bound > 0 ? task_.lower_bound : mean_value(start_), task_.cluster->idle_value);
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

  DuplicatesKept settle_duplicates_first() {
    DuplicateLimits const limits{std::min(max_fetches(), start_fetches_.total() + task_.duplicate_fetches),
                                 task_.slots_to_fill};
    if (task_.duplicate_fetches == 0) {
      return DuplicatesKept::move_limits;
    }
    DuplicatesLeft const left = settle_duplicates(start_, start_fetches_, limits, filter());
    return left.over_limits > 0 ? DuplicatesKept::move_limits : DuplicatesKept::no_legal_change;
  }

  /// Nothing when only the number of moves counts.
  [[nodiscard]] FetchFilter filter() const {
    if (!has_caps(options_.limits)) {
      return nullptr;
    }
    return [this](LayerState const& now, FetchCount const& so_far) {
      return choose_senders(now, so_far, options_.limits).has_value();
    };
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
    FetchFilter const within_caps = filter();
    follow_path(state, fetches, path, within_caps,
                [this](LayerState const& now, FetchCount const& so_far) { points_.see(now, so_far); });
    polish(state, fetches, threshold, within_caps);
  }

  /// Where a path got stuck above its threshold, the search without regard to fetches may go on.
  void polish(LayerState& state, FetchCount const& fetches, double threshold, FetchFilter const& allows) {
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
      if (after.total() <= max_fetches() && (!allows || allows(state, after))) {
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

std::int64_t forced_fetches(LayerTask const& task) {
  LayerState state(*task.cluster, *task.figures, task.current);
  FetchCount const fetches(state);
  make_servable(state, *task.figures, task.slots_to_fill);
  return fetches.recounted(state).total();
}

int count_duplicates(LayerTask const& task, std::vector<ExpertId> const& slots) {
  return count_duplicates(LayerState(*task.cluster, *task.figures, experts_of(slots)));
}

IncrementalLayer trace_curve(LayerTask const& task, IncrementalOptions const& options) {
  return CurveTracer(task, options).trace();
}

void offer_point(LayerTask const& task, IncrementalOptions const& options, std::vector<ExpertId> const& slots,
                 IncrementalLayer& layer) {
  LayerState const state(*task.cluster, *task.figures, experts_of(slots));
  auto const fetches = FetchCount(LayerState(*task.cluster, *task.figures, task.current)).recounted(state);
  std::int64_t const most = options.limits.max_moves_per_layer.value_or(fetches.total());
  if (fetches.total() > most || (has_caps(options.limits) && !choose_senders(state, fetches, options.limits))) {
    return;
  }
  PointCollector points(task, options);
  points.see(state, fetches);
  CurvePoint const point = points.curve().front();
  auto const after = std::upper_bound(layer.curve.begin(), layer.curve.end(), point.moves,
                                      [](std::int64_t moves, CurvePoint const& other) { return moves < other.moves; });
  if (after != layer.curve.begin() && std::prev(after)->max_figure <= point.max_figure) {
    return;
  }
  layer.curve.insert(after, point);
  std::erase_if(layer.curve, [&](CurvePoint const& other) {
    return other.moves >= point.moves && other.max_figure >= point.max_figure && other.slots != point.slots;
  });
}

std::vector<PlannedFetch> fetches_of(LayerTask const& task, IncrementalOptions const& options, int layer,
                                     std::vector<ExpertId> const& slots) {
  LayerState const current(*task.cluster, *task.figures, task.current);
  LayerState const state(*task.cluster, *task.figures, experts_of(slots));
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
