// SPDX-License-Identifier: Apache-2.0
// Routing maps in both forms, and Megatron's capacity on them.
//
// Capacity by hand: 4 tokens, 2 experts, K = 1, factor 1.0: C = ceil(4 / 2 * 1.0) = 2. Tokens 0, 1, 2 chose expert 0
// with 0.25, 0.5, 0.5 and token 3 chose expert 1 with 0.75.
//   probs, no pad:    expert 0 keeps 1 and 2 (0.5, 0.5), drops 0; expert 1 keeps 3.
//   position, no pad: expert 0 keeps 0 and 1; expert 1 keeps 3.
//   probs, pad:       expert 1 also takes the lowest unselected token 0, with probability 0.
#include "switchyard/routing/routing_map.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "support/error_text.hpp"
#include "switchyard/dispatch/capacity.hpp"

using namespace switchyard;
using support::contains;
using support::error_text;

namespace {

std::vector<std::vector<int>> experts_of(RoutingMap const& routing) {
  std::vector<std::vector<int>> experts;
  std::vector<RoutingChoice> choices;
  for (std::int64_t token = 0; token < routing.num_tokens(); ++token) {
    routing.choices_of(TokenIndex{token}, choices);
    experts.emplace_back();
    for (auto const& choice : choices) experts.back().push_back(choice.expert.value());
  }
  return experts;
}

RoutingMap four_tokens() {
  return RoutingMap::from_topk(4, 2, 1, {0, 0, 0, 1}, {0.25F, 0.5F, 0.5F, 0.75F});
}

CapacityPolicy policy(double factor, DropPolicy drop, bool pad) {
  CapacityPolicy result;
  result.factor = factor;
  result.policy = drop;
  result.pad_to_capacity = pad;
  return result;
}

using Experts = std::vector<std::vector<int>>;

}  // namespace

TEST_CASE("top-k choices keep slot order and leave dropped ones out") {
  auto const routing = RoutingMap::from_topk(2, 4, 3, {3, -1, 0, 2, 2, -1}, {1.0F, 9.0F, 2.0F, 3.0F, 4.0F, 0.0F});
  CHECK(experts_of(routing) == Experts{{3, 0}, {2, 2}});
  CHECK(routing.num_choices() == 4);
  CHECK(routing.weights()[1] == 0.0F);  // a dropped choice has no weight
  std::vector<RoutingChoice> choices;
  routing.choices_of(TokenIndex{0}, choices);
  CHECK(choices[1].slot == 2);
  CHECK(choices[1].weight == 2.0F);
}

TEST_CASE("dense and top-k forms convert without loss") {
  auto const topk = RoutingMap::from_topk(2, 3, 2, {2, 0, 1, -1}, {0.5F, 0.25F, 0.75F, 0.0F});
  auto const dense = topk.to_dense();
  CHECK(dense == RoutingMap::from_dense(2, 3, {1, 0, 1, 0, 1, 0}, {0.25F, 0.0F, 0.5F, 0.0F, 0.75F, 0.0F}));
  CHECK(dense.to_topk() == RoutingMap::from_topk(2, 3, 2, {0, 2, 1, -1}, {0.25F, 0.5F, 0.75F, 0.0F}));
  CHECK(dense.to_topk(3).top_k() == 3);
  CHECK(dense.to_topk().to_dense() == dense);
  CHECK(topk.to_topk() == dense.to_topk());
}

TEST_CASE("no tokens and no slots are routings too") {
  CHECK(RoutingMap::from_topk(0, 4, 2, {}, {}).num_choices() == 0);
  CHECK(RoutingMap::from_topk(3, 4, 0, {}, {}).to_dense().num_choices() == 0);
  CHECK(RoutingMap::from_dense(0, 4, {}, {}).to_topk().top_k() == 0);
}

TEST_CASE("bad routings are refused by name") {
  float const nan = std::numeric_limits<float>::quiet_NaN();
  auto const id = error_text(ErrorCode::invalid_argument, [] {
    return RoutingMap::from_topk(2, 4, 2, {0, 1, 4, 2}, {1, 1, 1, 1});
  });
  CHECK(contains(id, "token 1, slot 0 names expert 4"));
  auto const low = error_text(ErrorCode::invalid_argument, [] { return RoutingMap::from_topk(1, 4, 1, {-2}, {1}); });
  CHECK(contains(low, "names expert -2"));
  auto const weight = error_text(ErrorCode::invalid_argument, [&] {
    return RoutingMap::from_topk(1, 4, 2, {0, 1}, {1.0F, nan});
  });
  CHECK(contains(weight, "token 0, slot 1 is NaN"));
  CHECK_NOTHROW((void)RoutingMap::from_topk(1, 4, 2, {0, -1}, {1.0F, nan}));  // dropped: the weight means nothing
  auto const map = error_text(ErrorCode::invalid_argument, [] { return RoutingMap::from_dense(1, 2, {0, 2}, {0, 0}); });
  CHECK(contains(map, "token 0, expert 1 is 2"));
  auto const shape = error_text(ErrorCode::shape_mismatch, [] { return RoutingMap::from_topk(2, 4, 2, {0}, {1}); });
  CHECK(contains(shape, "needs 4 entries"));
  auto const twice = error_text(ErrorCode::invalid_argument, [] {
    return RoutingMap::from_topk(1, 4, 3, {2, 0, 2}, {1, 1, 1}).to_dense();
  });
  CHECK(contains(twice, "token 0 names expert 2 in slots 0 and 2"));
  auto const huge = error_text(ErrorCode::invalid_argument, [] {
    return RoutingMap::from_topk(std::numeric_limits<std::int64_t>::max(), 4, 8, {}, {});
  });
  CHECK(contains(huge, "does not fit"));
}

TEST_CASE("capacity is Megatron's double arithmetic") {
  CHECK(megatron_capacity(100, 2, 1.1) == 56);  // the exact ceiling is 55
  CHECK(megatron_capacity(150, 3, 1.1) == 56);
  CHECK(megatron_capacity(180, 2, 1.1) == 100);
  CHECK(megatron_capacity(24, 8, 0.5) == 2);
  CHECK(megatron_capacity(0, 8, 2.0) == 0);
  CHECK(megatron_capacity(5, 8, 0.0) == 0);
  for (double const factor : {-1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return megatron_capacity(8, 2, factor); }), "factor"));
  CHECK(contains(error_text(ErrorCode::invalid_argument, [] { return megatron_capacity(8, 0, 1.0); }), "at least one"));
  CHECK(contains(error_text(ErrorCode::invalid_argument, [] { return megatron_capacity(8, 1, 1e300); }), "1e+300"));
}

TEST_CASE("drop and pad by hand") {
  auto const probs = apply_capacity(four_tokens(), policy(1.0, DropPolicy::probs, false), 1);
  CHECK(probs.capacity == 2);
  CHECK(experts_of(probs.routing) == Experts{{}, {0}, {0}, {1}});
  CHECK(probs.num_dropped == 1);
  CHECK(probs.num_fillers == 0);

  auto const position = apply_capacity(four_tokens(), policy(1.0, DropPolicy::position, false), 1);
  CHECK(experts_of(position.routing) == Experts{{0}, {0}, {}, {1}});

  auto const padded = apply_capacity(four_tokens(), policy(1.0, DropPolicy::probs, true), 1);
  CHECK(experts_of(padded.routing) == Experts{{1}, {0}, {0}, {1}});
  CHECK(padded.num_fillers == 1);
  CHECK(padded.num_dropped == 1);
  std::vector<RoutingChoice> choices;
  padded.routing.choices_of(TokenIndex{0}, choices);
  CHECK(choices.front().weight == 0.0F);
}

TEST_CASE("equal values keep the lowest tokens") {
  auto const routing = RoutingMap::from_topk(4, 1, 1, {0, 0, 0, 0}, {0.5F, 0.5F, 0.5F, 0.5F});
  for (auto const drop : {DropPolicy::probs, DropPolicy::position})
    CHECK(experts_of(apply_capacity(routing, policy(0.5, drop, false), 1).routing) == Experts{{0}, {0}, {}, {}});
}

TEST_CASE("a capacity above the tokens keeps everything or, padded, is refused") {
  auto const kept = apply_capacity(four_tokens(), policy(100.0, DropPolicy::probs, false), 1);
  CHECK(kept.capacity == 200);
  CHECK(kept.num_dropped == 0);
  CHECK(kept.routing == four_tokens().to_dense());
  auto const refused = error_text(ErrorCode::invalid_argument, [] {
    return apply_capacity(four_tokens(), policy(100.0, DropPolicy::probs, true), 1);
  });
  CHECK(contains(refused, "capacity of 200"));
  CHECK(apply_capacity(four_tokens(), policy(2.0, DropPolicy::probs, true), 1).num_fillers == 4);  // C = T is fine
}

TEST_CASE("capacity of nothing, and without a factor") {
  auto const none = apply_capacity(RoutingMap::from_topk(0, 2, 1, {}, {}), policy(1.0, DropPolicy::probs, true), 1);
  CHECK(none.capacity == 0);
  CHECK(none.routing.num_tokens() == 0);
  auto const all_dropped = apply_capacity(four_tokens(), policy(0.0, DropPolicy::probs, false), 1);
  CHECK(all_dropped.num_dropped == 4);
  CHECK(contains(error_text(ErrorCode::invalid_argument, [] { return apply_capacity(four_tokens(), {}, 1); }),
                 "without a factor"));
}
