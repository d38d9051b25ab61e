// SPDX-License-Identifier: Apache-2.0
// The quality that docs/scoreboard.md promises, on its own seeded instances: means over 20 seeds of a log-normal load.
#include <doctest/doctest.h>

#include <cstdint>
#include <memory>

#include "scoreboard_case.hpp"
#include "switchyard/placement/balanced.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/incremental.hpp"
#include "switchyard/placement/policy.hpp"

using namespace switchyard;

namespace {

constexpr std::uint64_t kSeeds = 20;

/// Means over the seeds of re-planning DeepSeek's plan after a drift.
struct Comparison {
  double fresh_par = 0;
  double fresh_moves = 0;
  double par = 0;
  double moves = 0;
};

Comparison compare(int ranks, double drift, std::int64_t max_moves) {
  Comparison mean;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    auto const loads = scoreboard::draw_loads({ranks, 288, 256, 1, 0.7, drift}, seed);
    PolicyRequest request{ranks, 288, 1, 1};
    auto const deepseek = make_policy("deepseek-global");
    auto const current = std::make_shared<ExpertPlacement const>(deepseek->place(loads.before, request));
    auto const fresh = deepseek->place(loads.after, request);
    request.current = current;
    IncrementalOptions options;
    options.limits.max_moves_per_layer = max_moves;
    auto const result = improve_placement(loads.after, request, options);
    mean.fresh_par += measure_imbalance(loads.after, fresh).mean_par / kSeeds;
    mean.fresh_moves += static_cast<double>(migration_bounds(*current, fresh, 0).fetches) / kSeeds;
    mean.par += measure_imbalance(loads.after, result.placement).mean_par / kSeeds;
    mean.moves += static_cast<double>(result.fetches.size()) / kSeeds;
    CHECK(static_cast<std::int64_t>(result.fetches.size()) <= max_moves);
  }
  return mean;
}

}  // namespace

TEST_CASE("32 ranks, drift 0.2: 32 fetches come within 0.004 of a fresh DeepSeek plan, 64 beat it") {
  Comparison const few = compare(32, 0.2, 32);
  CHECK(few.par <= few.fresh_par + 0.004);
  Comparison const more = compare(32, 0.2, 64);
  CHECK(more.par < more.fresh_par);
  CHECK(more.moves < more.fresh_moves / 4);
}

TEST_CASE("72 ranks, drift 0.2: a third of DeepSeek's moves come within 0.01 of its plan") {
  Comparison const third = compare(72, 0.2, 92);
  CHECK(third.par <= third.fresh_par + 0.01);
  CHECK(third.moves <= third.fresh_moves / 3);
}

TEST_CASE("four slots per rank and 32 spare slots: within 0.5 % of the bound up to sigma 1.2") {
  for (int const ranks : {32, 72}) {
    for (double const sigma : {0.2, 0.7, 1.2}) {
      double ratio = 0;
      for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        auto const loads = scoreboard::draw_loads({ranks, 288, 256, 1, sigma, 0}, seed);
        auto const plan = balance(loads.after, {ranks, 288, 1, 1}).placement;
        auto const bounds = balance_bounds(loads.after.at(0, 0), plan, 0);
        ratio += bounds.achieved / bounds.even_split / kSeeds;
      }
      CAPTURE(ranks);
      CAPTURE(sigma);
      CHECK(ratio <= 1.005);
    }
  }
}
