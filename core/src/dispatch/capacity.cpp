// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/capacity.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

/// The tokens that an expert keeps: the `capacity` first by (value descending, token ascending).
class ColumnSelector {
 public:
  ColumnSelector(RoutingMap const& dense, DropPolicy policy) : dense_(dense), policy_(policy) {}

  /// @return token ids, in no particular order; all of them when `capacity` covers every token.
  std::vector<std::int64_t> const& select(int expert, std::int64_t capacity) {
    auto const tokens = dense_.num_tokens();
    order_.resize(to_size(tokens));
    for (std::int64_t token = 0; token < tokens; ++token) order_[to_size(token)] = token;
    if (capacity >= tokens) return order_;
    auto const before = [&](std::int64_t a, std::int64_t b) {
      float const value_a = value(a, expert);
      float const value_b = value(b, expert);
      return value_a != value_b ? value_a > value_b : a < b;
    };
    std::nth_element(order_.begin(), order_.begin() + capacity, order_.end(), before);
    order_.resize(to_size(capacity));
    return order_;
  }

 private:
  [[nodiscard]] float value(std::int64_t token, int expert) const {
    auto const entry = to_size(token) * to_size(dense_.num_experts()) + to_size(expert);
    return policy_ == DropPolicy::probs ? dense_.weights()[entry] : static_cast<float>(dense_.map()[entry]);
  }

  RoutingMap const& dense_;
  DropPolicy policy_;
  std::vector<std::int64_t> order_;
};

void require_room_for_padding(CapacityPolicy const& policy, std::int64_t capacity, std::int64_t num_tokens) {
  SWITCHYARD_REQUIRE(!policy.pad_to_capacity || capacity <= num_tokens, invalid_argument,
                     "padding to a capacity of {} needs as many tokens, but the rank holds {}: lower the capacity "
                     "factor or do not pad (Megatron's dispatcher fails on this)",
                     capacity, num_tokens);
}

std::int64_t largest_column(RoutingMap const& dense) {
  std::vector<std::int64_t> counts(to_size(dense.num_experts()), 0);
  for (std::size_t entry = 0; entry < dense.map().size(); ++entry) counts[entry % counts.size()] += dense.map()[entry];
  return counts.empty() ? 0 : *std::max_element(counts.begin(), counts.end());
}

std::int64_t megablocks_limit(RoutingMap const& dense, CapacityPolicy const& policy, int top_k) {
  SWITCHYARD_REQUIRE(!policy.pad_to_capacity, invalid_argument,
                     "padding to a capacity with MegaBlocks' rule: MegaBlocks fills bins with zero rows, not with "
                     "tokens; use another rule or do not pad");
  auto const limit = megablocks_capacity(dense.num_tokens(), top_k, dense.num_experts(), 1, *policy.factor);
  return limit > 0 ? limit : largest_column(dense);
}

std::int64_t capacity_of(RoutingMap const& dense, CapacityPolicy const& policy, int top_k) {
  bool const exact = policy.rule == CapacityRule::exact;
  SWITCHYARD_REQUIRE(exact ? policy.ratio.has_value() : policy.factor.has_value(), invalid_argument,
                     "capacity policy without a {}: dropless routing needs no capacity step",
                     exact ? "ratio" : "factor");
  if (policy.rule == CapacityRule::megablocks) return megablocks_limit(dense, policy, top_k);
  auto const choices = checked_mul(dense.num_tokens(), top_k);
  return exact ? exact_capacity(choices, dense.num_experts(), *policy.ratio)
               : megatron_capacity(choices, dense.num_experts(), *policy.factor);
}

}  // namespace

CapacityResult apply_capacity(RoutingMap const& routing, CapacityPolicy const& policy, int top_k) {
  SWITCHYARD_REQUIRE(top_k >= 0, invalid_argument, "top_k {} must not be negative", top_k);
  RoutingMap const dense = routing.to_dense();
  auto const tokens = dense.num_tokens();
  int const experts = dense.num_experts();
  auto const capacity = capacity_of(dense, policy, top_k);
  require_room_for_padding(policy, capacity, tokens);

  std::vector<std::uint8_t> kept(dense.map().size(), 0);
  std::vector<float> probs(dense.weights().size(), 0.0F);
  CapacityResult result;
  result.capacity = capacity;
  ColumnSelector selector(dense, policy.policy);
  std::int64_t kept_choices = 0;
  for (int expert = 0; expert < experts; ++expert) {
    for (std::int64_t const token : selector.select(expert, capacity)) {
      auto const entry = to_size(token) * to_size(experts) + to_size(expert);
      bool const selected = dense.map()[entry] == 1;
      if (!selected && !policy.pad_to_capacity) continue;
      kept[entry] = 1;
      probs[entry] = dense.weights()[entry];
      ++(selected ? kept_choices : result.num_fillers);
    }
  }
  result.num_dropped = dense.num_choices() - kept_choices;
  result.routing = RoutingMap::from_dense(tokens, experts, std::move(kept), std::move(probs));
  return result;
}

}  // namespace switchyard
