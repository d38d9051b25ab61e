// SPDX-License-Identifier: Apache-2.0
// Routings: legal top-k, weights that add up, traffic that breaks dispatchers, and bytes that never change.
//
// Worked example of the weights: scores 4, 1 give ratios 1 and 1/4, square roots 1 and 1/2, sum 1.5, weights 2/3, 1/3.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "switchyard/sim/routing_generator.hpp"
#include "switchyard/types/error.hpp"
#include "switchyard/types/fingerprint.hpp"

namespace sim = switchyard::sim;
using switchyard::RoutingMap;

namespace {

std::vector<RoutingMap> routed(sim::RoutingPreset preset, sim::RoutingShape const& shape, std::uint64_t seed = 1) {
  return sim::generate_routing(sim::routing_preset(preset, shape, seed));
}

void check_legal(RoutingMap const& map) {
  auto const k = static_cast<std::size_t>(map.top_k());
  for (std::size_t first = 0; first < map.ids().size(); first += k) {
    std::set<std::int32_t> const distinct(map.ids().begin() + std::ptrdiff_t(first),
                                          map.ids().begin() + std::ptrdiff_t(first + k));
    REQUIRE(distinct.size() == k);
    REQUIRE(*distinct.begin() >= 0);
    REQUIRE(*distinct.rbegin() < map.num_experts());
    float sum = 0;
    for (std::size_t i = first; i < first + k; ++i) {
      REQUIRE(map.weights()[i] > 0);
      if (i > first) REQUIRE(map.weights()[i] <= map.weights()[i - 1]);
      sum += map.weights()[i];
    }
    REQUIRE(std::abs(sum - 1) < 1e-6f);
  }
}

std::string digest(std::vector<RoutingMap> const& maps) {
  switchyard::FingerprintBuilder builder;
  for (std::uint32_t rank = 0; rank < maps.size(); ++rank) {
    builder.add(2 * rank + 1, maps[rank].ids());
    std::vector<std::int32_t> bits(maps[rank].weights().size());
    if (!bits.empty()) std::memcpy(bits.data(), maps[rank].weights().data(), bits.size() * sizeof(float));
    builder.add(2 * rank + 2, bits);
  }
  return builder.result().to_hex();
}

}  // namespace

TEST_CASE("every preset and several shapes route legally") {
  for (std::string const& name : sim::routing_preset_names()) {
    for (sim::RoutingShape const& shape : {sim::RoutingShape{1, 1, 1, 33}, {3, 12, 4, 33}, {8, 64, 8, 33}}) {
      CAPTURE(name);
      CAPTURE(shape.num_experts);
      auto const preset = sim::parse_routing_preset(name);
      auto const maps = routed(preset, shape);
      REQUIRE(maps.size() == static_cast<std::size_t>(shape.num_ranks));
      for (RoutingMap const& map : maps) check_legal(map);
      CHECK(sim::to_string(preset) == name);
    }
  }
}

TEST_CASE("presets do what their names say") {
  sim::RoutingShape const shape{4, 16, 3, 40};
  for (RoutingMap const& map : routed(sim::RoutingPreset::one_expert, shape)) {
    for (std::size_t first = 0; first < map.ids().size(); first += 3) CHECK(map.ids()[first] == 15);
  }
  for (RoutingMap const& map : routed(sim::RoutingPreset::one_rank, shape)) {
    CHECK(std::all_of(map.ids().begin(), map.ids().end(), [](std::int32_t id) { return id >= 12; }));
  }
  CHECK(routed(sim::RoutingPreset::empty_rank, shape).back().num_tokens() == 0);
  auto const ragged = routed(sim::RoutingPreset::ragged, shape);
  CHECK(ragged[0].num_tokens() == 0);
  CHECK(ragged[1].num_tokens() != ragged[2].num_tokens());
  CHECK_THROWS_WITH_AS((void)routed(sim::RoutingPreset::one_rank, {4, 16, 5, 1}), doctest::Contains("holds only 4"),
                       switchyard::Error);
}

TEST_CASE("popular experts are chosen in proportion, k = all experts chooses all, zero weight is never chosen") {
  sim::RoutingSpec spec;
  spec.top_k = 1;
  spec.tokens_of_rank = {60000};
  spec.expert_weights = {3, 0, 2, 1};
  auto const map = sim::generate_routing(spec).front();
  std::vector<double> counts(4, 0.0);
  for (std::int32_t id : map.ids()) ++counts[static_cast<std::size_t>(id)];
  CHECK(counts[1] == 0);
  CHECK(std::abs(counts[0] - 30000) < 6 * std::sqrt(15000.0));
  CHECK(std::abs(counts[2] - 20000) < 6 * std::sqrt(13334.0));
  spec.top_k = 3;
  spec.tokens_of_rank = {5};
  check_legal(sim::generate_routing(spec).front());
}

TEST_CASE("stickiness repeats choices inside a request only") {
  sim::RoutingSpec spec = sim::routing_preset(sim::RoutingPreset::uniform, {1, 256, 8, 512}, 3);
  auto const overlap = [](RoutingMap const& map) {
    int shared = 0;
    for (std::size_t first = 8; first < map.ids().size(); first += 8) {
      for (std::size_t i = first; i < first + 8; ++i) {
        auto const begin = map.ids().begin() + std::ptrdiff_t(first - 8);
        shared += std::count(begin, begin + 8, map.ids()[i]) > 0 ? 1 : 0;
      }
    }
    return shared / (511.0 * 8);
  };
  CHECK(overlap(sim::generate_routing(spec).front()) < 0.06);
  spec.stickiness = 0.6;
  CHECK(overlap(sim::generate_routing(spec).front()) > 0.3);
  spec.request_tokens = 1;
  CHECK(overlap(sim::generate_routing(spec).front()) < 0.06);
}

TEST_CASE("the bytes are part of the format: pinned digest, other seeds differ") {
  CHECK(digest(routed(sim::RoutingPreset::log_normal, {3, 64, 8, 50})) == "795d7d194b6b8c55");
  CHECK(digest(routed(sim::RoutingPreset::log_normal, {3, 64, 8, 50}, 2)) !=
        digest(routed(sim::RoutingPreset::log_normal, {3, 64, 8, 50})));
}

TEST_CASE("a bad spec is refused with the value") {
  sim::RoutingSpec spec = sim::routing_preset(sim::RoutingPreset::uniform, {2, 8, 2, 4}, 1);
  auto const refused = [](sim::RoutingSpec bad) { CHECK_THROWS_AS(sim::require_valid(bad), switchyard::Error); };
  CHECK_NOTHROW(sim::require_valid(spec));
  auto bad = spec;
  bad.top_k = 9;
  refused(bad);
  bad = spec;
  bad.tokens_of_rank[1] = -1;
  refused(bad);
  bad = spec;
  bad.expert_weights[0] = std::nan("");
  refused(bad);
  bad = spec;
  bad.stickiness = 1;
  refused(bad);
  bad = spec;
  bad.request_tokens = 0;
  refused(bad);
  CHECK_THROWS_AS((void)sim::parse_routing_preset("zipf"), switchyard::Error);
}
