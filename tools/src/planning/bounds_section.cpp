// SPDX-License-Identifier: Apache-2.0
#include "planning/bounds_section.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/progress.hpp"
#include "cli/table.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/objective.hpp"

namespace switchyard::cli {
namespace {

/// Sums over layers; ratios are taken of the sums, so a layer counts by its load.
struct BoundSums {
  double achieved = 0;
  double even_split = 0;
  double fractional = 0;
  MigrationBounds moves{};
  std::int64_t max_layer_rounds = 0;
};

double ratio(double achieved, double bound) {
  return bound > 0 ? achieved / bound : 1;
}

void add_moves(BoundSums& sums, MigrationBounds const& layer) {
  sums.moves.fetches += layer.fetches;
  sums.moves.fewest_fetches += layer.fewest_fetches;
  sums.moves.replica_floor += layer.replica_floor;
  sums.moves.rounds += layer.rounds;
  sums.max_layer_rounds = std::max(sums.max_layer_rounds, layer.rounds);
}

/// The degree bound alone, from the plan's own lists: the busiest port of a layer.
MigrationBounds degree_of(LayerTransfers const& layer) {
  MigrationBounds bounds;
  for (RankTransfers const& rank : layer.ranks) {
    bounds.fetches += static_cast<std::int64_t>(rank.receives.size());
    bounds.rounds = std::max(bounds.rounds, static_cast<std::int64_t>(rank.receives.size()));
  }
  return bounds;
}

BoundSums sum_bounds(PlanInputs const& inputs, ExpertPlacement const& after, RebalancePlan const& plan, bool full) {
  BoundSums sums;
  ExpertLoad const load = reduce_window(inputs.source.load, inputs.request.window);
  auto const speeds = serving_speeds(inputs.request);
  Progress progress("bounds", after.num_layers());
  for (int layer = 0; layer < after.num_layers(); ++layer) {
    BalanceBounds const balance = balance_bounds(load.at(0, layer), after, layer, speeds, full);
    sums.achieved += balance.achieved;
    sums.even_split += balance.even_split;
    sums.fractional += balance.fractional_split;
    add_moves(sums, full ? migration_bounds(plan.before, plan.after, layer)
                         : degree_of(plan.layers[static_cast<std::size_t>(layer)]));
    progress.set(layer + 1);
  }
  return sums;
}

std::string text_of(BoundSums const& sums, std::int64_t expert_bytes, bool full) {
  std::string text = fmt::format("bounds     largest rank loads are {:.4f} of the even-split bound",
                                 ratio(sums.achieved, sums.even_split));
  if (full)
    text +=
        fmt::format(", {:.4f} of the best split over these replicas (max-flow)", ratio(sums.achieved, sums.fractional));
  text += fmt::format(
      "\n           one tier of links, no forwarding: the move needs {} rounds at least ({} in one layer)\n",
      grouped(sums.moves.rounds), grouped(sums.max_layer_rounds));
  if (full)
    text += fmt::format(
        "           fetches {}; at least {} ({}) when ranks may swap contents, {} for these replica counts\n",
        grouped(sums.moves.fetches), grouped(sums.moves.fewest_fetches),
        human_bytes(sums.moves.fewest_fetches * expert_bytes), grouped(sums.moves.replica_floor));
  return text;
}

nlohmann::ordered_json json_of(BoundSums const& sums, std::int64_t expert_bytes, bool full) {
  nlohmann::ordered_json json{{"achieved_over_even_split", ratio(sums.achieved, sums.even_split)},
                              {"rounds", sums.moves.rounds},
                              {"rounds_of_busiest_layer", sums.max_layer_rounds}};
  if (!full) return json;
  json["achieved_over_fractional_split"] = ratio(sums.achieved, sums.fractional);
  json["fetches"] = sums.moves.fetches;
  json["fewest_fetches"] = sums.moves.fewest_fetches;
  json["fewest_bytes"] = sums.moves.fewest_fetches * expert_bytes;
  json["replica_floor"] = sums.moves.replica_floor;
  return json;
}

}  // namespace

ReportSection bounds_section(PlanInputs const& inputs, ExpertPlacement const& after, RebalancePlan const& plan,
                             bool full) {
  if (inputs.request.objective.kind != ObjectiveKind::tokens)
    return {"bounds", "null", "bounds     known for --objective tokens only\n"};
  BoundSums const sums = sum_bounds(inputs, after, plan, full);
  return {"bounds", json_of(sums, inputs.expert_bytes, full).dump(), text_of(sums, inputs.expert_bytes, full)};
}

}  // namespace switchyard::cli
