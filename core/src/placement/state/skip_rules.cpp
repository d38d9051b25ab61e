// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/skip_rules.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/objective.hpp"

namespace switchyard {

namespace {

ObjectiveReport rank_figures(ExpertLoad const& load, ExpertPlacement const& placement) {
  PolicyRequest request;
  request.num_ranks = placement.num_ranks();
  request.num_slots = placement.num_slots();
  return measure_objective(load, placement, request);
}

/// Standard deviation of the ranks' loads over their mean, 0 without load.
double variation(LayerObjective const& layer) {
  double squares = 0;
  for (double const load : layer.rank_figures) {
    squares += (load - layer.even_figure) * (load - layer.even_figure);
  }
  double const deviation = std::sqrt(squares / static_cast<double>(layer.rank_figures.size()));
  return layer.even_figure > 0 ? deviation / layer.even_figure : 0;
}

double sum_of_ratios(ObjectiveReport const& report) {
  double sum = 0;
  for (auto const& layer : report.layers) sum += layer.ratio;
  return sum;
}

/// The candidate's layers where `taken`, the current ones elsewhere.
ExpertPlacement merge(ExpertPlacement const& current, ExpertPlacement const& candidate,
                      std::vector<bool> const& taken) {
  std::vector<ExpertId> slots;
  for (int layer = 0; layer < current.num_layers(); ++layer) {
    auto const row = (taken[to_size(layer)] ? candidate : current).layer(layer);
    slots.insert(slots.end(), row.begin(), row.end());
  }
  return ExpertPlacement(current.num_layers(), current.num_experts(), current.layout(), std::move(slots));
}

void require_comparable(ExpertPlacement const& current, ExpertPlacement const& candidate) {
  SWITCHYARD_REQUIRE(current.num_layers() == candidate.num_layers() &&
                         current.num_experts() == candidate.num_experts() && current.layout() == candidate.layout(),
                     shape_mismatch,
                     "the candidate has {} layers x {} experts in {} slots, the current placement {} x {} in {}: skip "
                     "rules compare placements of one model on the same ranks",
                     candidate.num_layers(), candidate.num_experts(), candidate.num_slots(), current.num_layers(),
                     current.num_experts(), current.num_slots());
}

}  // namespace

std::string_view to_string(SkipReason reason) noexcept {
  switch (reason) {
    case SkipReason::none: return "none";
    case SkipReason::no_load: return "no_load";
    case SkipReason::well_utilised: return "well_utilised";
    case SkipReason::unchanged: return "unchanged";
    case SkipReason::small_gain: return "small_gain";
  }
  return "unknown";
}

SkipVerdict judge_candidate(SkipRules const& rules, ExpertLoad const& load, ExpertPlacement const& current,
                            ExpertPlacement const& candidate) {
  require_comparable(current, candidate);
  auto const before = rank_figures(load, current);
  auto const after = rank_figures(load, candidate);
  SkipVerdict verdict;
  for (std::size_t layer = 0; layer < before.layers.size(); ++layer) {
    double const drop = variation(before.layers[layer]) - variation(after.layers[layer]);
    verdict.layers_taken.push_back(rules.min_variation_drop <= 0 || drop >= rules.min_variation_drop);
  }
  verdict.placement = merge(current, candidate, verdict.layers_taken);
  if (verdict.placement == current) {
    verdict.reason = SkipReason::unchanged;
  } else if (rules.min_par_gain > 0) {
    double const old_sum = sum_of_ratios(before);
    double const gain = (old_sum - sum_of_ratios(rank_figures(load, verdict.placement))) / old_sum;
    verdict.reason = gain < rules.min_par_gain ? SkipReason::small_gain : SkipReason::none;
  }
  if (verdict.reason != SkipReason::none) {
    verdict.placement = current;
    verdict.layers_taken.assign(before.layers.size(), false);
  }
  return verdict;
}

double pass_utilisation(std::span<std::int64_t const> slot_counts, ExpertPlacement const& placement) {
  constexpr double kSmall = 1e-5;
  auto const per_layer = to_size(placement.num_slots());
  SWITCHYARD_REQUIRE(slot_counts.size() == to_size(placement.num_layers()) * per_layer, shape_mismatch,
                     "{} counts for {} layers x {} slots", slot_counts.size(), placement.num_layers(), per_layer);
  double sum = 0;
  for (std::size_t first = 0; first < slot_counts.size(); first += per_layer) {
    std::int64_t total = 0;
    std::int64_t largest = 0;
    for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
      auto const own = slot_counts.subspan(first + to_size(placement.layout().first_slot(rank).value()),
                                           to_size(placement.layout().slots_of(rank)));
      std::int64_t const load = std::accumulate(own.begin(), own.end(), std::int64_t{0});
      total += load;
      largest = std::max(largest, load);
    }
    double const mean = static_cast<double>(total) / placement.num_ranks();
    sum += (mean + kSmall) / (static_cast<double>(largest) + kSmall);
  }
  return placement.num_layers() > 0 ? sum / placement.num_layers() : 1;
}

}  // namespace switchyard
