// SPDX-License-Identifier: Apache-2.0
// Capacity by each peer's rounding, and routing maps padded to a multiple.
//
// Worked example of the padding: three tokens choose experts {0}, {0, 1}, {1}; to a multiple of 4 expert 0 misses two
// rows and has one free token (2), expert 1 misses two and has one (0): both take it and stay short of the multiple.
#include <doctest/doctest.h>

#include <random>

#include "support/error_text.hpp"
#include "switchyard/dispatch/capacity.hpp"
#include "switchyard/dispatch/capacity_padding.hpp"

using namespace switchyard;
using support::contains;
using support::error_text;

namespace {

using Map = std::vector<std::uint8_t>;

RoutingMap dense(std::int64_t tokens, int experts, Map map) {
  std::vector<float> probs(map.size(), 0.5F);
  return RoutingMap::from_dense(tokens, experts, std::move(map), std::move(probs));
}

Map map_of(RoutingMap const& routing) {
  return {routing.map().begin(), routing.map().end()};
}

std::string refused_ratio(std::string_view text) {
  return error_text(ErrorCode::invalid_argument, [&] { return parse_capacity_ratio(text); });
}

}  // namespace

TEST_CASE("the three rules differ where doubles do") {
  // The exact values and Megatron's excess are those of the reference text.
  struct Case {
    std::int64_t choices;
    int experts;
    CapacityRatio ratio;
    double factor;
    std::int64_t megatron;
    std::int64_t exact;
  };
  for (auto const& c : {Case{100, 2, {11, 10}, 1.1, 56, 55}, Case{150, 3, {11, 10}, 1.1, 56, 55},
                        Case{180, 2, {11, 10}, 1.1, 100, 99}, Case{64, 8, {5, 4}, 1.25, 10, 10},
                        Case{7, 2, {1, 1}, 1.0, 4, 4}, Case{0, 4, {3, 1}, 3.0, 0, 0}, Case{9, 4, {0, 1}, 0.0, 0, 0}}) {
    CAPTURE(c.choices);
    CHECK(megatron_capacity(c.choices, c.experts, c.factor) == c.megatron);
    CHECK(exact_capacity(c.choices, c.experts, c.ratio) == c.exact);
  }
  CHECK(megablocks_capacity(100, 1, 1, 1, 1.15) == 114);  // exactly 115
  CHECK(megablocks_capacity(50, 2, 4, 4, 1.0) == 100);
  CHECK(megablocks_capacity(1, 1, 8, 1, 1.0) == 0);
}

TEST_CASE("the exact rule is the ceiling of the fraction, also near 64 bits") {
  std::mt19937_64 random(11);
  for (int i = 0; i < 2000; ++i) {
    auto const choices = static_cast<std::int64_t>(random() % 5000);
    auto const experts = static_cast<int>(1 + random() % 300);
    CapacityRatio const ratio{static_cast<std::int64_t>(random() % 500), static_cast<std::int64_t>(1 + random() % 500)};
    auto const rows = exact_capacity(choices, experts, ratio);
    auto const numerator = choices * ratio.numerator;
    auto const denominator = experts * ratio.denominator;
    CAPTURE(i);
    CHECK(rows * denominator >= numerator);
    CHECK((rows - 1) * denominator < numerator);
  }
  CHECK(exact_capacity(INT64_MAX, 1, {7, 7}) == INT64_MAX);
  CHECK(exact_capacity(INT64_MAX, 1, {1, 2}) == INT64_MAX / 2 + 1);
  CHECK(contains(error_text(ErrorCode::invalid_argument,
                            [] {
                              return exact_capacity(INT64_MAX, 1, {2, 1});
                            }),
                 "does not fit 63 bits"));
}

TEST_CASE("ratios are read without rounding") {
  CHECK(parse_capacity_ratio("1.25") == CapacityRatio{5, 4});
  CHECK(parse_capacity_ratio("1.1") == CapacityRatio{11, 10});
  CHECK(parse_capacity_ratio("2") == CapacityRatio{2, 1});
  CHECK(parse_capacity_ratio("10/4") == CapacityRatio{5, 2});
  CHECK(parse_capacity_ratio("0.0") == CapacityRatio{0, 1});
  CHECK(parse_capacity_ratio("0.00000000000000001") == CapacityRatio{1, 100000000000000000});
  for (char const* text : {"", ".", "/", "1.", ".5", "1/", "/2", "1/0", "-1", "+1", "1e3", "1.2.3", "1/2/3", "1.5/2",
                           "nan", " 1", "1234567890123456789"}) {
    CAPTURE(text);
    CHECK(contains(refused_ratio(text), "give a decimal"));
  }
}

TEST_CASE("bad numbers are refused by every rule") {
  auto const refused = [](auto const& call) { return error_text(ErrorCode::invalid_argument, call); };
  CHECK(contains(refused([] { return megablocks_capacity(1, 1, 0, 1, 1.0); }), "at least one"));
  CHECK(contains(refused([] { return megablocks_capacity(-1, 1, 1, 1, 1.0); }), "negative"));
  CHECK(contains(refused([] { return megablocks_capacity(1, 1, 1, 0, 1.0); }), "0 ranks"));
  CHECK(contains(refused([] { return megablocks_capacity(1, 1, 1, 1, -1.0); }), "finite"));
  CHECK(contains(refused([] { return megablocks_capacity(INT64_MAX, 2, 1, 1, 1.0); }), "does not fit 63 bits"));
  CHECK(contains(refused([] { return megablocks_capacity(1, 1, 1, 1, 1e300); }), "rows per expert"));
  CHECK(contains(refused([] { return exact_capacity(1, 1, {1, 0}); }), "denominator"));
  CHECK(contains(refused([] { return exact_capacity(1, 1, {-1, 1}); }), "negative"));
}

TEST_CASE("apply_capacity follows the rule of its policy") {
  // Four tokens, all to expert 0 of 2: top-1, so Megatron's share is 2 per expert.
  auto const routing = dense(4, 2, {1, 0, 1, 0, 1, 0, 1, 0});
  CapacityPolicy policy;
  policy.policy = DropPolicy::position;
  policy.rule = CapacityRule::exact;
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return apply_capacity(routing, policy, 1); }),
                 "without a ratio"));
  policy.ratio = CapacityRatio{3, 4};  // 4 / 2 * 3 / 4 = 1.5
  CHECK(apply_capacity(routing, policy, 1).capacity == 2);
  CHECK(map_of(apply_capacity(routing, policy, 1).routing) == Map{1, 0, 1, 0, 0, 0, 0, 0});
  policy.rule = CapacityRule::megablocks;
  policy.factor = 0.75;
  CHECK(apply_capacity(routing, policy, 1).capacity == 1);
  policy.factor = 0.25;  // truncates to 0: no limit, the largest count
  auto const unlimited = apply_capacity(routing, policy, 1);
  CHECK(unlimited.capacity == 4);
  CHECK(unlimited.num_dropped == 0);
  policy.pad_to_capacity = true;
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return apply_capacity(routing, policy, 1); }),
                 "zero rows"));
}

TEST_CASE("padding takes the lowest free tokens and says where they run out") {
  auto const routing = dense(3, 2, {1, 0, 1, 1, 0, 1});
  auto const before = routing;
  auto const padded = pad_routing_map(routing, 4);
  CHECK(routing == before);
  CHECK(map_of(padded.routing) == Map{1, 1, 1, 1, 1, 1});
  CHECK(padded.num_fillers == 2);
  CHECK(padded.not_multiple == std::vector<ExpertId>{ExpertId{0}, ExpertId{1}});
  CHECK(padded.routing.weights()[1] == 0.0F);
  CHECK(padded.routing.weights()[4] == 0.0F);
  CHECK(padded.routing.weights()[0] == 0.5F);

  auto const wide = dense(5, 2, {0, 0, 0, 0, 1, 0, 0, 0, 0, 0});
  auto const to_two = pad_routing_map(wide, 2);
  CHECK(map_of(to_two.routing) == Map{1, 0, 0, 0, 1, 0, 0, 0, 0, 0});  // an empty expert stays empty
  CHECK(to_two.not_multiple.empty());
  CHECK(pad_routing_map(wide, 1).routing == wide);
  CHECK(pad_routing_map(RoutingMap::from_topk(0, 3, 2, {}, {}), 16).num_fillers == 0);
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return pad_routing_map(wide, 0); }), "multiple of 0"));
}

TEST_CASE("padding, every map of up to 3 tokens and 3 experts: counts, order and nothing lost") {
  for (int tokens = 0; tokens <= 3; ++tokens) {
    for (int bits = 0; bits < 1 << (tokens * 3); ++bits) {
      Map map(static_cast<std::size_t>(tokens * 3));
      for (std::size_t i = 0; i < map.size(); ++i) map[i] = static_cast<std::uint8_t>(bits >> i & 1);
      for (int const multiple : {1, 2, 3, 16}) {
        auto const padded = map_of(pad_routing_map(dense(tokens, 3, map), multiple).routing);
        for (std::size_t expert = 0; expert < 3; ++expert) {
          int chosen = 0;
          for (std::size_t t = 0; t < static_cast<std::size_t>(tokens); ++t) chosen += map[t * 3 + expert];
          int wanted = (multiple - chosen % multiple) % multiple;
          for (std::size_t t = 0; t < static_cast<std::size_t>(tokens); ++t) {
            bool const taken = map[t * 3 + expert] == 1 || wanted > 0;
            wanted -= map[t * 3 + expert] == 0 && wanted > 0 ? 1 : 0;
            REQUIRE((padded[t * 3 + expert] == 1) == taken);
          }
        }
      }
    }
  }
}
