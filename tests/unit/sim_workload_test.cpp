// SPDX-License-Identifier: Apache-2.0
// Workloads W0 to W7, domains and groups: that the imbalance is the one that the name promises.
//
// Worked example of W0: 3 ranks with 2 tokens each, 5 experts, top-2. The 12 choices go round the experts from the
// first turn f: f, f+1 for token 0, f+2, f+3 for token 1, f+4, f+5 = f for token 2, ... so two experts are chosen 3
// times and three twice. Worked example of W6: 32 experts have 2 hot ones; what is hot at step 5 is what was at step 0,
// moved on by 10.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include "switchyard/sim/workload.hpp"
#include "switchyard/types/error.hpp"
#include "switchyard/types/fingerprint.hpp"

using namespace switchyard;
using namespace switchyard::sim;

namespace {

constexpr RoutingShape kShape{8, 64, 4, 512};

std::vector<RoutingMap> routed(Workload workload, std::uint64_t seed = 1, int step = 0,
                               RoutingShape const& shape = kShape) {
  return generate_routing(workload_spec(workload, shape, seed, step));
}

/// [experts] how often each was chosen, on all ranks.
std::vector<double> counts_of(std::vector<RoutingMap> const& maps) {
  std::vector<double> counts(static_cast<std::size_t>(maps.front().num_experts()), 0.0);
  for (RoutingMap const& map : maps)
    for (std::int32_t const id : map.ids()) ++counts[static_cast<std::size_t>(id)];
  return counts;
}

double peak_to_mean(std::vector<double> const& counts) {
  double const total = std::accumulate(counts.begin(), counts.end(), 0.0);
  return *std::max_element(counts.begin(), counts.end()) * static_cast<double>(counts.size()) / total;
}

/// [ranks] of contiguous equal blocks.
std::vector<double> per_rank(std::vector<double> const& experts, std::size_t ranks) {
  std::vector<double> sums(ranks, 0.0);
  for (std::size_t e = 0; e < experts.size(); ++e) sums[e * ranks / experts.size()] += experts[e];
  return sums;
}

std::vector<std::size_t> hot_of(RoutingSpec const& spec) {
  std::vector<std::size_t> hot;
  for (std::size_t e = 0; e < spec.expert_weights.size(); ++e)
    if (spec.expert_weights[e] == kHotFactor) hot.push_back(e);
  return hot;
}

std::string digest(std::vector<RoutingMap> const& maps) {
  FingerprintBuilder builder;
  for (std::uint32_t rank = 0; rank < maps.size(); ++rank) builder.add(rank + 1, maps[rank].ids());
  return builder.result().to_hex();
}

std::set<std::size_t> hottest(std::vector<double> const& counts, std::size_t count) {
  std::vector<std::size_t> order(counts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return counts[a] > counts[b]; });
  return {order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace

TEST_CASE("W0: worked example, and counts that differ by one at most") {
  auto counts = counts_of(routed(Workload::w0, 9, 0, {3, 5, 2, 2}));
  std::sort(counts.begin(), counts.end());
  CHECK(counts == std::vector<double>{2, 2, 2, 3, 3});
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    auto const maps = routed(Workload::w0, seed, 0, {5, 33, 7, 13});
    auto const all = counts_of(maps);
    CHECK(*std::max_element(all.begin(), all.end()) - *std::min_element(all.begin(), all.end()) <= 1);
    for (RoutingMap const& map : maps)
      for (std::size_t first = 0; first < map.ids().size(); first += 7)
        CHECK(std::set<std::int32_t>(map.ids().begin() + static_cast<std::ptrdiff_t>(first),
                                     map.ids().begin() + static_cast<std::ptrdiff_t>(first + 7))
                  .size() == 7);
  }
}

TEST_CASE("W1, W2, W3: what is hot, and for whom") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    auto const w1 = counts_of(routed(Workload::w1, seed));
    auto const hot = hot_of(workload_spec(Workload::w1, kShape, seed, 0));
    CHECK(hot.size() == 4);
    CHECK(hottest(w1, 4) == std::set<std::size_t>(hot.begin(), hot.end()));
    CHECK(peak_to_mean(w1) > 5);

    auto const w2 = per_rank(counts_of(routed(Workload::w2, seed)), 8);
    CHECK(peak_to_mean(w2) > 3);
    auto sorted = w2;
    std::sort(sorted.begin(), sorted.end());
    CHECK(sorted[6] < 1.3 * sorted[0]);  // all others alike

    auto const w3 = counts_of(routed(Workload::w3, seed));
    CHECK(peak_to_mean(w3) > 4);
    CHECK(peak_to_mean(per_rank(w3, 8)) < 1.1);
  }
  CHECK(hot_of(workload_spec(Workload::w1, kShape, 1, 0)) != hot_of(workload_spec(Workload::w1, kShape, 2, 0)));
}

TEST_CASE("W4 and W5: ragged and silent ranks") {
  auto const w4 = workload_spec(Workload::w4, {64, 64, 4, 100}, 3, 0).tokens_of_rank;
  CHECK(w4.front() == 0);
  CHECK(*std::max_element(w4.begin(), w4.end()) <= 200);
  double const mean = static_cast<double>(std::accumulate(w4.begin(), w4.end(), std::int64_t{0})) / 63;
  CHECK(mean > 70);
  CHECK(mean < 130);
  auto const maps = routed(Workload::w5);
  CHECK(maps.back().num_tokens() == 0);
  auto const counts = counts_of(maps);
  for (std::size_t e = 0; e < counts.size(); ++e) CHECK((counts[e] == 0) == (e % 4 == 0 || e >= 56));
  CHECK_THROWS_AS((void)workload_spec(Workload::w5, {8, 8, 6, 4}, 1, 0), Error);
}

TEST_CASE("W6 moves on with every step, W7 bursts in a quarter of them") {
  RoutingShape const shape{4, 32, 2, 16};
  auto const start = hot_of(workload_spec(Workload::w6, shape, 5, 0));
  REQUIRE(start.size() == 2);
  auto moved = start;
  for (auto& expert : moved) expert = (expert + 10) % 32;
  std::sort(moved.begin(), moved.end());
  CHECK(hot_of(workload_spec(Workload::w6, shape, 5, 5)) == moved);
  CHECK(hot_of(workload_spec(Workload::w6, shape, 5, 16)) == start);
  int bursts = 0;
  for (int step = 0; step < 400; ++step) {
    auto const spec = workload_spec(Workload::w7, shape, 5, step);
    bursts += spec.even ? 0 : 1;
    CHECK(spec.tokens_of_rank == std::vector<std::int64_t>(4, spec.even ? 16 : 16 * kBurstTokens));
    CHECK(hot_of(spec).size() == (spec.even ? 0U : 2U));
  }
  CHECK(bursts > 70);
  CHECK(bursts < 130);
}

TEST_CASE("bytes hang on workload, shape, seed and step alone, and are part of the format") {
  std::set<std::string> different;
  for (auto const& name : workload_names()) {
    CAPTURE(name);
    auto const workload = parse_workload(name);
    CHECK(to_string(workload) == name);
    CHECK(digest(routed(workload, 4, 2)) == digest(routed(workload, 4, 2)));
    for (int step : {0, 2})
      if (workload != Workload::w7) different.insert(digest(routed(workload, 4, step)));
  }
  CHECK(different.size() == 14);  // W7 is W0 until it bursts
  CHECK(digest(routed(Workload::w3, 1, 0, {3, 64, 8, 50})) == "36d901f63e8e4f01");
  CHECK(digest(routed(Workload::w7, 1, 9, {3, 64, 8, 50})) == "bd1e8a762558579f");
  CHECK_THROWS_AS((void)parse_workload("W8"), Error);
  CHECK_THROWS_AS((void)workload_spec(Workload::w6, kShape, 1, -1), Error);
}

TEST_CASE("requests of different domains have hot sets of their own") {
  RoutingSpec spec = routing_preset(RoutingPreset::log_normal, {1, 64, 4, 4096}, 2);
  auto const overlap = [&](RoutingSpec const& drawn) {
    // Requests of 256 tokens: how much do the hottest quarters of two requests have in common?
    auto const map = generate_routing(drawn).front();
    std::vector<std::set<std::size_t>> hot;
    for (std::size_t request = 0; request < 16; ++request) {
      std::vector<double> counts(64, 0.0);
      for (std::size_t i = 0; i < 256 * 4; ++i) ++counts[static_cast<std::size_t>(map.ids()[request * 1024 + i])];
      hot.push_back(hottest(counts, 16));
    }
    double least = 1;
    for (auto const& a : hot)
      for (auto const& b : hot) {
        auto const common = std::count_if(a.begin(), a.end(), [&](std::size_t e) { return b.count(e) == 1; });
        least = std::min(least, static_cast<double>(common) / static_cast<double>(32 - common));
      }
    return least;  // Jaccard
  };
  spec.request_tokens = 256;
  double const alike = overlap(spec);
  spec.num_domains = 4;
  spec.domain_sigma = 1.5;
  double const unlike = overlap(spec);
  CAPTURE(alike);
  CAPTURE(unlike);
  CHECK(alike > 0.45);  // what 1,024 choices leave to chance
  CHECK(unlike < 0.4);
}

TEST_CASE("group-limited routing: a token stays inside its groups, tokens do not agree on them") {
  RoutingSpec spec = routing_preset(RoutingPreset::uniform, {2, 64, 8, 300}, 2);
  spec.num_groups = 8;
  spec.top_groups = 4;
  std::set<std::set<std::int32_t>> seen;
  for (RoutingMap const& map : generate_routing(spec))
    for (std::size_t first = 0; first < map.ids().size(); first += 8) {
      std::set<std::int32_t> groups, experts;
      for (std::size_t i = first; i < first + 8; ++i) {
        groups.insert(map.ids()[i] / 8);
        experts.insert(map.ids()[i]);
      }
      CHECK(groups.size() <= 4);
      CHECK(experts.size() == 8);
      seen.insert(groups);
    }
  CHECK(seen.size() > 50);  // of 70 ways to choose 4 of 8, and smaller sets
  auto const refused = [&](int groups, int top, int k) {
    RoutingSpec bad = spec;
    bad.num_groups = groups;
    bad.top_groups = top;
    bad.top_k = k;
    CHECK_THROWS_AS(require_valid(bad), Error);
  };
  refused(7, 4, 8);
  refused(8, 9, 8);
  refused(8, 0, 8);
  refused(8, 1, 9);
}
