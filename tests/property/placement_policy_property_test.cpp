// SPDX-License-Identifier: Apache-2.0
// DeepSeek's policy against two oracles in plain loops: float32 (always equal) and exact fractions (equal whenever no
// decision was within rounding), and the figures of the placement against sums in plain loops.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "oracle/eplb_policy_oracle.hpp"
#include "support/property.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/policy.hpp"

using switchyard::DeepSeekResult;
using switchyard::ExpertLoad;
using switchyard::PolicyRequest;

namespace {

struct PolicyCase {
  oracle::PolicySizes sizes{};
  std::vector<int> loads{};
};

/// Loads of one kind per case: spread, with many ties, mostly zero, one hot expert, all zero.
std::vector<int> random_loads(std::size_t experts) {
  switch (support::draw(0, 6)) {
    case 0: return support::draw_list(experts, 0, 3);
    case 1: {
      auto loads = support::draw_list(experts, -900, 100);
      for (auto& load : loads) load = std::max(load, 0);
      return loads;
    }
    case 2: {
      auto loads = support::draw_list(experts, 1, 100);
      loads[support::draw<std::size_t>(0, experts)] = 100000;
      return loads;
    }
    case 3: return std::vector<int>(experts, 0);
    default: return support::draw_list(experts, 0, 100000);
  }
}

PolicyCase random_case() {
  int const nodes = *rc::gen::element(1, 2, 4);
  int const groups = nodes * support::draw(1, 4);
  int const experts = groups * support::draw(1, 7);
  int const gpus = nodes * support::draw(1, 5);
  int const slots = gpus * ((experts + gpus - 1) / gpus + support::draw(0, 4));
  return {{experts, slots, groups, nodes, gpus}, random_loads(static_cast<std::size_t>(experts))};
}

DeepSeekResult run(PolicyCase const& c, bool hierarchical) {
  ExpertLoad const load(1, 1, c.sizes.num_experts, std::vector<double>(c.loads.begin(), c.loads.end()));
  PolicyRequest const request{c.sizes.num_gpus, c.sizes.num_slots, c.sizes.num_nodes, c.sizes.num_groups};
  return deepseek_rebalance(load, request, hierarchical);
}

bool equal(DeepSeekResult const& found, oracle::PolicyResult const& expected) {
  std::vector<int> phy2log;
  for (auto const expert : found.placement.slot_to_expert()) phy2log.push_back(expert.value());
  std::vector<std::vector<int>> log2phy;
  for (auto const& slots : found.replica_slots[0]) {
    log2phy.emplace_back();
    for (auto const slot : slots) log2phy.back().push_back(slot.value());
  }
  return phy2log == expected.phy2log && log2phy == expected.log2phy;
}

/// @return whether the exact oracle had a say.
bool check_against_oracles(PolicyCase const& c, bool hierarchical) {
  auto sizes = c.sizes;
  if (!hierarchical) sizes.num_groups = sizes.num_nodes = 1;
  auto const found = run(c, hierarchical);
  RC_ASSERT(validate(found.placement).empty());
  RC_ASSERT(equal(found, oracle::eplb_float32(c.loads, sizes)));
  auto const exact = oracle::eplb_exact(c.loads, sizes);
  if (exact.clear) RC_ASSERT(equal(found, exact));
  return exact.clear;
}

/// Rank loads by the definition: every slot carries load / replicas.
std::vector<double> plain_rank_loads(PolicyCase const& c, std::vector<int> const& phy2log) {
  std::vector<double> sums(static_cast<std::size_t>(c.sizes.num_gpus), 0.0);
  for (std::size_t slot = 0; slot < phy2log.size(); ++slot) {
    auto const replicas = std::count(phy2log.begin(), phy2log.end(), phy2log[slot]);
    auto const rank = slot / (phy2log.size() / sums.size());
    sums[rank] += static_cast<double>(c.loads[static_cast<std::size_t>(phy2log[slot])]) / static_cast<double>(replicas);
  }
  return sums;
}

/// Smallest possible largest replica load, by trying every way to hand out the spare slots.
double best_max_share(std::vector<int> const& loads, std::size_t expert, int spare) {
  if (expert == loads.size()) return 0;
  double best = 1e300;
  for (int extra = 0; extra <= spare; ++extra) {
    double const share = static_cast<double>(loads[expert]) / (1 + extra);
    best = std::min(best, std::max(share, best_max_share(loads, expert + 1, spare - extra)));
  }
  return best;
}

}  // namespace

TEST_CASE("hierarchical and global placements equal both oracles") {
  int clear = 0;
  int total = 0;
  CHECK(support::holds("policy == oracles", 3000, [&] {
    auto const c = random_case();
    for (bool const hierarchical : {true, false}) {
      clear += check_against_oracles(c, hierarchical) ? 1 : 0;
      ++total;
    }
  }));
  MESSAGE("placements " << total << ", decided by exact arithmetic as well " << clear);
  CHECK(clear > 500);
}

TEST_CASE("imbalance figures equal their definitions") {
  CHECK(support::holds("figures", 1000, [] {
    auto const c = random_case();
    auto const result = run(c, true);
    ExpertLoad const load(1, 1, c.sizes.num_experts, std::vector<double>(c.loads.begin(), c.loads.end()));
    auto const report = measure_imbalance(load, result.placement);
    auto const expected = plain_rank_loads(c, oracle::eplb_float32(c.loads, c.sizes).phy2log);
    double const max = *std::max_element(expected.begin(), expected.end());
    double const mean = std::accumulate(c.loads.begin(), c.loads.end(), 0.0) / c.sizes.num_gpus;
    auto const& layer = report.layers.at(0);
    RC_ASSERT(std::abs(layer.max_rank_load - max) <= 1e-9 * max);
    RC_ASSERT(std::abs(layer.mean_rank_load - mean) <= 1e-9 * mean);
    RC_ASSERT(layer.par >= 1 && layer.lower_bound_par >= 1 && layer.lower_bound_par <= layer.par * (1 + 1e-12));
    if (mean > 0) RC_ASSERT(std::abs(report.vllm_balancedness - mean / max) <= 1e-9);
  }));
}

TEST_CASE("the lower bound's replica counts are the best of all") {
  CHECK(support::holds("min-max replica load", 500, [] {
    int const experts = support::draw(1, 5);
    int const spare = support::draw(0, 6);
    auto const loads = support::draw_list(static_cast<std::size_t>(experts), 1, 50);
    ExpertLoad const load(1, 1, experts, std::vector<double>(loads.begin(), loads.end()));
    // One slot per rank: the mean is total / slots, so the bound is the replica bound unless the mean is larger.
    auto const layout = switchyard::SlotLayout::uniform(experts + spare, 1);
    auto const placement = switchyard::ExpertPlacement::trivial(1, experts, layout);
    auto const layer = measure_imbalance(load, placement).layers.at(0);
    double const best = std::max(best_max_share(loads, 0, spare), layer.mean_rank_load);
    RC_ASSERT(std::abs(layer.lower_bound_par * layer.mean_rank_load - best) <= 1e-9 * best);
  }));
}
