// SPDX-License-Identifier: Apache-2.0
// Bounds against enumeration, and against the exact optimum of small instances.
//
// Worked example of the split: loads 6 3 on three ranks that hold {0}, {0 1}, {1}, all of speed 1. Both experts
// together touch three ranks: 9 / 3 = 3. Expert 0 alone: 6 / 2 = 3. Expert 1 alone: 3 / 2. So 3: expert 0 gives 3 to
// each of its ranks, expert 1 goes to the third. Even splitting gives the middle rank 4.5.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "oracle/bounds_oracle.hpp"
#include "oracle/placement_exact_oracle.hpp"
#include "support/property.hpp"
#include "switchyard/placement/balanced.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/policy.hpp"
#include "switchyard/types/counter_rng.hpp"

using namespace switchyard;

namespace {

struct Case {
  ExpertPlacement placement;
  ExpertPlacement other;
  oracle::RankContents contents;
  oracle::RankContents other_contents;
  std::vector<double> loads;
  std::vector<double> speeds;
};

oracle::RankContents contents_of(ExpertPlacement const& placement) {
  oracle::RankContents contents;
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    contents.emplace_back();
    for (ExpertId const expert : placement.rank_slots(0, rank)) contents.back().push_back(expert.value());
  }
  return contents;
}

/// Every expert at least once, then any experts or empty slots, in random order.
std::vector<ExpertId> random_slots(int experts, int slots) {
  std::vector<ExpertId> list;
  for (int e = 0; e < slots; ++e) list.emplace_back(e < experts ? e : support::draw(-1, experts));
  for (std::size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[support::draw<std::size_t>(0, i)]);
  return list;
}

Case random_case() {
  int const ranks = support::draw(1, 6);
  int const per_rank = support::draw(1, 5);
  int const experts = support::draw(1, std::min(9, ranks * per_rank + 1));
  auto const layout = SlotLayout::uniform(ranks, per_rank);
  Case c{ExpertPlacement(1, experts, layout, random_slots(experts, ranks * per_rank)),
         ExpertPlacement(1, experts, layout, random_slots(experts, ranks * per_rank)),
         {},
         {},
         {},
         {}};
  c.contents = contents_of(c.placement);
  c.other_contents = contents_of(c.other);
  for (int e = 0; e < experts; ++e) c.loads.push_back(support::draw(0, 4) == 0 ? 0 : support::draw(0, 1000));
  for (int r = 0; r < ranks; ++r) c.speeds.push_back(support::draw(1, 4));
  return c;
}

/// Ranks that carry more than the limit, or experts whose split does not add up.
void check_split(Case const& c, FractionalSplit const& split, std::vector<double> const& speeds) {
  std::vector<double> of_expert(c.loads.size(), 0);
  for (std::size_t r = 0; r < c.contents.size(); ++r) {
    double sum = 0;
    for (std::size_t i = 0; i < c.contents[r].size(); ++i) {
      double const load = split.slot_load[r * c.contents[r].size() + i];
      sum += load;
      if (c.contents[r][i] >= 0) of_expert[static_cast<std::size_t>(c.contents[r][i])] += load;
    }
    RC_ASSERT(sum <= split.max_load * speeds[r] * (1 + 1e-12));
  }
  for (std::size_t e = 0; e < c.loads.size(); ++e) {
    RC_ASSERT(of_expert[e] >= c.loads[e] * (1 - 1e-12));
    RC_ASSERT(of_expert[e] <= c.loads[e] * (1 + 1e-12));
  }
}

bool is_close(double a, double b) {
  return std::abs(a - b) <= 1e-12 * std::max(std::abs(a), std::abs(b));
}

}  // namespace

TEST_CASE("the example of the fractional split") {
  ExpertPlacement const placement(1, 2, SlotLayout(std::vector<std::int32_t>{1, 2, 1}),
                                  {ExpertId(0), ExpertId(0), ExpertId(1), ExpertId(1)});
  std::vector<double> const loads{6, 3};
  auto const bounds = balance_bounds(loads, placement, 0, {}, true);
  CHECK(bounds.achieved == 4.5);
  CHECK(bounds.fractional_split == 3);
  CHECK(bounds.mean == 3);
  CHECK(fractional_split(loads, placement, 0).slot_load == std::vector<double>{3, 3, 0, 3});
}

TEST_CASE("the largest replica with its company") {
  // Loads 10 1 1 1 on 2 ranks of 2 slots without a spare slot: expert 0 shares its rank with an expert of load 1.
  ExpertPlacement const placement(1, 4, SlotLayout::uniform(2, 2),
                                  {ExpertId(0), ExpertId(1), ExpertId(2), ExpertId(3)});
  auto const bounds = balance_bounds(std::vector<double>{10, 1, 1, 1}, placement, 0);
  CHECK(bounds.mean == 6.5);
  CHECK(bounds.largest_replica == 10);
  CHECK(bounds.largest_replica_in_company == 11);
  CHECK(bounds.even_split == 11);
  CHECK(bounds.achieved == 11);
}

TEST_CASE("the fractional split equals the worst set of experts") {
  CHECK(support::holds("fractional split", 1500, [] {
    Case const c = random_case();
    std::vector<double> const even(c.speeds.size(), 1.0);
    for (auto const& speeds : {even, c.speeds}) {
      auto const split = fractional_split(c.loads, c.placement, 0, speeds);
      RC_ASSERT(is_close(split.max_load, oracle::split_optimum(c.loads, c.contents, speeds)));
      check_split(c, split, speeds);
    }
  }));
}

TEST_CASE("migration bounds equal enumeration") {
  CHECK(support::holds("migration bounds", 1500, [] {
    Case const c = random_case();
    auto const bounds = migration_bounds(c.placement, c.other, 0);
    int fetches = 0;
    int most = 0;
    for (std::size_t r = 0; r < c.contents.size(); ++r) {
      int const missing = oracle::missing_experts(c.other_contents[r], c.contents[r]);
      fetches += missing;
      most = std::max(most, missing);
    }
    RC_ASSERT(bounds.fetches == fetches);
    RC_ASSERT(bounds.max_receives == most);
    RC_ASSERT(bounds.fewest_fetches == oracle::fewest_fetches(c.contents, c.other_contents));
    RC_ASSERT(bounds.replica_floor <= bounds.fewest_fetches);
    if (fetches <= 10) {
      int const sends = oracle::SenderSearch(c.contents, c.other_contents, static_cast<int>(c.loads.size())).solve();
      RC_ASSERT(bounds.min_max_sends == sends);
      RC_ASSERT(bounds.rounds == std::max(sends, most));
    }
  }));
}

TEST_CASE("renaming ranks reaches the fewest fetches and keeps slots") {
  CHECK(support::holds("relabel", 1000, [] {
    Case const c = random_case();
    auto const renamed = relabel_ranks(c.placement, c.other);
    RC_ASSERT(migration_bounds(c.placement, renamed, 0).fetches ==
              oracle::fewest_fetches(c.contents, c.other_contents));
    auto sorted = [](oracle::RankContents contents) {
      for (auto& rank : contents) std::sort(rank.begin(), rank.end());
      std::sort(contents.begin(), contents.end());
      return contents;
    };
    RC_ASSERT(sorted(contents_of(renamed)) == sorted(c.other_contents));
    RC_ASSERT(relabel_ranks(c.other, c.other) == c.other);
  }));
}

TEST_CASE("every bound is at most what is achieved") {
  CHECK(support::holds("bounds below achieved", 1500, [] {
    Case const c = random_case();
    auto const bounds = balance_bounds(c.loads, c.placement, 0, c.speeds, true);
    for (double const bound : {bounds.mean, bounds.largest_replica, bounds.largest_replica_in_company,
                               bounds.even_split, bounds.fractional_split}) {
      RC_ASSERT(bound <= bounds.achieved);
    }
    RC_ASSERT(bounds.fractional_split >= bounds.mean * (1 - 1e-12));
  }));
}

namespace {

/// bound <= exact optimum <= balanced, and exact <= DeepSeek where it has no duplicates.
/// @return balanced over the exact optimum.
double check_exact(std::vector<double> const& loads, int ranks, int per_rank) {
  auto const experts = static_cast<int>(loads.size());
  ExpertLoad const load(1, 1, experts, loads);
  PolicyRequest const request{ranks, ranks * per_rank, 1, 1};
  auto const plan = balance(load, request);
  REQUIRE(validate(plan.placement, true).empty());
  auto const bounds = balance_bounds(loads, plan.placement, 0);
  double const exact =
      oracle::ExactPlacement(loads, static_cast<std::size_t>(ranks), static_cast<std::size_t>(per_rank))
          .solve(bounds.achieved);
  CAPTURE(ranks);
  CAPTURE(per_rank);
  CAPTURE(loads);
  CHECK(bounds.even_split <= exact * (1 + 1e-12));
  if (plan.layers[0].deepseek_duplicates == 0) CHECK(exact <= plan.layers[0].deepseek_max_figure * (1 + 1e-6));
  return exact > 0 ? bounds.achieved / exact : 1;
}

struct ExactShape {
  int experts;
  int ranks;
  int per_rank;
  int cases;
};

}  // namespace

TEST_CASE("small instances against the exact optimum") {
  bool const deep = std::getenv("SWITCHYARD_EXHAUSTIVE") != nullptr;
  std::vector<ExactShape> const shapes{{4, 2, 3, 40}, {5, 3, 2, 40}, {6, 3, 3, 30}, {8, 4, 3, 10},
                                       {8, 8, 2, 3},  {12, 7, 2, 6}, {16, 9, 2, 4}, {16, 6, 3, 3}};
  double sum = 0;
  double worst = 1;
  int cases = 0;
  for (auto const& shape : shapes) {
    for (int i = 0; i < shape.cases * (deep ? 10 : 1); ++i) {
      CounterRng const rng(static_cast<std::uint64_t>(i),
                           static_cast<std::uint64_t>(100 * shape.experts + shape.ranks));
      std::vector<double> loads;
      for (std::uint64_t e = 0; e < static_cast<std::uint64_t>(shape.experts); ++e) {
        loads.push_back(static_cast<double>(1 + rng.below(2 * e, 60) * rng.below(2 * e + 1, 60)));
      }
      double const ratio = check_exact(loads, shape.ranks, shape.per_rank);
      sum += ratio;
      worst = std::max(worst, ratio);
      ++cases;
    }
  }
  MESSAGE("balanced over the exact optimum: mean ", sum / cases, ", worst ", worst, " in ", cases, " instances");
  CHECK(sum / cases <= 1.002);
  CHECK(worst <= 1.03);
}

TEST_CASE("FlashLB's published example: 8 experts on 8 ranks of 2 slots") {
  std::vector<double> const loads{600, 560, 120, 120, 20, 10, 10, 10};
  ExpertLoad const load(1, 1, 8, loads);
  auto const plan = balance(load, {8, 16, 1, 1});
  CHECK(plan.layers[0].deepseek_max_figure == 232);
  CHECK(plan.layers[0].max_figure == doctest::Approx(590.0 / 3).epsilon(1e-12));
  oracle::ExactPlacement exact(loads, 8, 2);
  CHECK(exact.solve(232) == doctest::Approx(590.0 / 3).epsilon(1e-12));
  CHECK(balance_bounds(loads, plan.placement, 0).even_split <= 590.0 / 3);
}
