// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/objective.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

namespace {

/// What is the same for all layers.
struct Problem {
  std::vector<double> speeds;
  std::vector<bool> live;
  double live_speed;
  PlacementObjective objective;
};

void require_same_problem(ExpertLoad const& load, ExpertPlacement const& placement, PolicyRequest const& request) {
  SWITCHYARD_REQUIRE(load.num_layers() == placement.num_layers() && load.num_experts() == placement.num_experts(),
                     shape_mismatch,
                     "the load has {} layers x {} experts, the placement {} x {}: they must describe the same model",
                     load.num_layers(), load.num_experts(), placement.num_layers(), placement.num_experts());
  SWITCHYARD_REQUIRE(placement.num_ranks() == request.num_ranks, shape_mismatch,
                     "the placement has {} ranks, the request {}: speeds and dead ranks would not fit",
                     placement.num_ranks(), request.num_ranks);
  SWITCHYARD_REQUIRE(request.objective.kind == ObjectiveKind::tokens || request.window.statistic == LoadStatistic::sum,
                     invalid_argument,
                     "objective {} is evaluated in every step, window statistic {} leaves one: use sum",
                     to_string(request.objective.kind), to_string(request.window.statistic));
}

Problem problem_of(PolicyRequest const& request) {
  Problem problem{speeds_of(request), live_ranks(request), 0, request.objective};
  for (std::size_t rank = 0; rank < problem.speeds.size(); ++rank) {
    problem.live_speed += problem.live[rank] ? problem.speeds[rank] : 0;
  }
  return problem;
}

/// How many slots of live ranks hold every expert. [experts]
std::vector<int> live_replicas(ExpertPlacement const& placement, int layer, std::vector<bool> const& live) {
  std::vector<int> counts(to_size(placement.num_experts()), 0);
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    for (ExpertId const expert : placement.rank_slots(layer, rank)) {
      SWITCHYARD_REQUIRE(expert.value() < placement.num_experts(), invalid_placement,
                         "rank {} of layer {} holds expert {}, the model has {}: correct the placement", rank.value(),
                         layer, expert.value(), placement.num_experts());
      if (expert.valid() && live[rank.index()]) ++counts[expert.index()];
    }
  }
  return counts;
}

void require_served(ExpertLoad const& load, int layer, std::vector<int> const& replicas) {
  for (int step = 0; step < load.num_steps(); ++step) {
    auto const loads = load.at(step, layer);
    for (std::size_t expert = 0; expert < loads.size(); ++expert) {
      SWITCHYARD_REQUIRE(loads[expert] == 0 || replicas[expert] > 0, invalid_placement,
                         "expert {} of layer {} has load {} but no slot on a live rank: its tokens would be lost",
                         expert, layer, loads[expert]);
    }
  }
}

/// What every expert adds to each rank that holds it, once per slot; 0 for an expert without a slot. [experts]
std::vector<double> slot_figures(ExpertLoad const& load, int layer, std::vector<int> const& replicas,
                                 PlacementObjective const& objective) {
  std::vector<double> figures(replicas.size(), 0.0);
  for (std::size_t expert = 0; expert < figures.size(); ++expert) {
    if (replicas[expert] == 0) continue;
    figures[expert] =
        slot_figure(objective, load, layer, ExpertId(static_cast<std::int32_t>(expert)), replicas[expert]);
  }
  return figures;
}

LayerObjective measure_layer(ExpertLoad const& load, ExpertPlacement const& placement, int layer,
                             Problem const& problem) {
  auto const replicas = live_replicas(placement, layer, problem.live);
  require_served(load, layer, replicas);
  auto const figures = slot_figures(load, layer, replicas, problem.objective);
  double const base = problem.objective.kind == ObjectiveKind::time ? problem.objective.base : 0;
  LayerObjective result;
  double work = 0;
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    double sum = problem.live[rank.index()] ? base : 0;
    for (ExpertId const expert : placement.rank_slots(layer, rank)) {
      if (expert.valid() && problem.live[rank.index()]) sum += figures[expert.index()];
    }
    work += sum;
    result.rank_figures.push_back(sum / problem.speeds[rank.index()]);
  }
  auto const worst = std::max_element(result.rank_figures.begin(), result.rank_figures.end());
  result.worst_rank = RankId(static_cast<std::int32_t>(worst - result.rank_figures.begin()));
  result.max_figure = *worst;
  result.even_figure = work / problem.live_speed;
  if (result.even_figure > 0) result.ratio = std::max(1.0, result.max_figure / result.even_figure);
  return result;
}

}  // namespace

double slot_figure(PlacementObjective const& objective, ExpertLoad const& load, int layer, ExpertId expert,
                   int live_replicas) {
  SWITCHYARD_REQUIRE(live_replicas >= 1, invalid_argument,
                     "figure of a slot of expert {} in layer {} with {} live replicas: at least one is needed",
                     expert.value(), layer, live_replicas);
  double tokens = 0;
  double activated = 0;
  for (int step = 0; step < load.num_steps(); ++step) {
    double const share = load.at(step, layer)[expert.index()] / live_replicas;
    tokens += share;
    activated += std::min(1.0, share);
  }
  auto const steps = static_cast<double>(load.num_steps());
  switch (objective.kind) {
    case ObjectiveKind::activated_experts: return activated / steps;
    case ObjectiveKind::time:
      return objective.per_expert * (activated / steps) + objective.per_token * (tokens / steps);
    case ObjectiveKind::tokens: break;
  }
  return tokens / steps;
}

ObjectiveReport measure_objective(ExpertLoad const& load, ExpertPlacement const& placement,
                                  PolicyRequest const& request) {
  validate(request, load.num_layers(), load.num_experts());
  require_same_problem(load, placement, request);
  Problem const problem = problem_of(request);
  bool const is_per_step = request.objective.kind != ObjectiveKind::tokens;
  ExpertLoad const steps = is_per_step ? load : reduce_window(load, request.window);
  ObjectiveReport report;
  double ratios = 0;
  for (int layer = 0; layer < load.num_layers(); ++layer) {
    report.layers.push_back(measure_layer(steps, placement, layer, problem));
    ratios += report.layers.back().ratio;
    report.max_ratio = std::max(report.max_ratio, report.layers.back().ratio);
    report.total_figure += report.layers.back().max_figure;
  }
  report.mean_ratio = ratios / load.num_layers();
  return report;
}

}  // namespace switchyard
