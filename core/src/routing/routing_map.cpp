// SPDX-License-Identifier: Apache-2.0
#include "switchyard/routing/routing_map.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

/// Checks a [tokens, columns] pair of arrays and returns its length.
std::size_t require_matrix(char const* what, std::int64_t num_tokens, std::int64_t columns, std::size_t entries,
                           std::size_t weights) {
  SWITCHYARD_REQUIRE(num_tokens >= 0 && columns >= 0, invalid_argument,
                     "routing of {} tokens with {} {}: sizes must not be negative", num_tokens, columns, what);
  auto const expected = to_size(checked_mul(num_tokens, columns));
  SWITCHYARD_REQUIRE(entries == expected && weights == expected, shape_mismatch,
                     "routing of {} tokens x {} {} needs {} entries and weights, got {} entries and {} weights",
                     num_tokens, columns, what, expected, entries, weights);
  return expected;
}

/// A dropped choice has no weight: storing 0 keeps equal routings equal.
void check_weight(float& weight, bool kept, std::size_t position, std::int64_t columns) {
  if (!kept) {
    weight = 0.0F;
    return;
  }
  auto const token = static_cast<std::int64_t>(position) / columns;
  auto const slot = static_cast<std::int64_t>(position) % columns;
  SWITCHYARD_REQUIRE(!std::isnan(weight), invalid_argument,
                     "weight of token {}, slot {} is NaN: the router produced it; mask the token with -1 or fix the "
                     "scores",
                     token, slot);
}

void require_no_duplicates(std::vector<RoutingChoice> const& sorted, std::int64_t token) {
  auto const twice = std::adjacent_find(sorted.begin(), sorted.end(),
                                        [](auto const& a, auto const& b) { return a.expert == b.expert; });
  SWITCHYARD_REQUIRE(twice == sorted.end(), invalid_argument,
                     "token {} names expert {} in slots {} and {}: a dense map cannot say that; keep the top-k form or "
                     "drop one of them",
                     token, twice->expert.value(), twice->slot, std::next(twice)->slot);
}

void sort_by_expert(std::vector<RoutingChoice>& choices) {
  std::stable_sort(choices.begin(), choices.end(), [](auto const& a, auto const& b) { return a.expert < b.expert; });
}

}  // namespace

RoutingMap RoutingMap::from_topk(std::int64_t num_tokens, int num_experts, int top_k, std::vector<std::int32_t> ids,
                                 std::vector<float> weights) {
  auto const entries = require_matrix("slots", num_tokens, top_k, ids.size(), weights.size());
  SWITCHYARD_REQUIRE(num_experts >= 0, invalid_argument, "routing over {} experts: must not be negative", num_experts);
  for (std::size_t i = 0; i < entries; ++i) {
    SWITCHYARD_REQUIRE(ids[i] >= -1 && ids[i] < num_experts, invalid_argument,
                       "token {}, slot {} names expert {}: valid are -1 (dropped) and 0 to {}", i / to_size(top_k),
                       i % to_size(top_k), ids[i], num_experts - 1);
    check_weight(weights[i], ids[i] >= 0, i, top_k);
  }
  RoutingMap result;
  result.form_ = RoutingForm::topk;
  result.num_tokens_ = num_tokens;
  result.num_experts_ = num_experts;
  result.top_k_ = top_k;
  result.ids_ = std::move(ids);
  result.weights_ = std::move(weights);
  return result;
}

RoutingMap RoutingMap::from_dense(std::int64_t num_tokens, int num_experts, std::vector<std::uint8_t> map,
                                  std::vector<float> probs) {
  auto const entries = require_matrix("experts", num_tokens, num_experts, map.size(), probs.size());
  for (std::size_t i = 0; i < entries; ++i) {
    SWITCHYARD_REQUIRE(map[i] <= 1, invalid_argument, "routing map of token {}, expert {} is {}: valid are 0 and 1",
                       i / to_size(num_experts), i % to_size(num_experts), map[i]);
    check_weight(probs[i], map[i] == 1, i, num_experts);
  }
  RoutingMap result;
  result.form_ = RoutingForm::dense;
  result.num_tokens_ = num_tokens;
  result.num_experts_ = num_experts;
  result.map_ = std::move(map);
  result.weights_ = std::move(probs);
  return result;
}

void RoutingMap::choices_of(TokenIndex token, std::vector<RoutingChoice>& out) const {
  SWITCHYARD_REQUIRE(token.value() >= 0 && token.value() < num_tokens_, invalid_argument,
                     "token {} of a routing of {} tokens", token.value(), num_tokens_);
  out.clear();
  bool const dense = form_ == RoutingForm::dense;
  int const columns = dense ? num_experts_ : top_k_;
  std::size_t const first = token.index() * to_size(columns);
  for (std::int32_t slot = 0; slot < columns; ++slot) {
    std::size_t const entry = first + to_size(slot);
    if (dense ? map_[entry] == 0 : ids_[entry] < 0) continue;
    out.push_back({ExpertId{dense ? slot : ids_[entry]}, slot, weights_[entry]});
  }
}

std::int64_t RoutingMap::num_choices() const {
  if (form_ == RoutingForm::dense) return std::count(map_.begin(), map_.end(), std::uint8_t{1});
  return std::count_if(ids_.begin(), ids_.end(), [](std::int32_t id) { return id >= 0; });
}

RoutingMap RoutingMap::to_dense() const {
  if (form_ == RoutingForm::dense) return *this;
  auto const entries = to_size(checked_mul(num_tokens_, num_experts_));
  std::vector<std::uint8_t> map(entries, 0);
  std::vector<float> probs(entries, 0.0F);
  std::vector<RoutingChoice> choices;
  for (std::int64_t token = 0; token < num_tokens_; ++token) {
    choices_of(TokenIndex{token}, choices);
    sort_by_expert(choices);
    require_no_duplicates(choices, token);
    for (auto const& choice : choices) {
      auto const entry = to_size(token) * to_size(num_experts_) + choice.expert.index();
      map[entry] = 1;
      probs[entry] = choice.weight;
    }
  }
  return from_dense(num_tokens_, num_experts_, std::move(map), std::move(probs));
}

RoutingMap RoutingMap::to_topk(int min_top_k) const {
  std::vector<RoutingChoice> choices;
  std::size_t widest = to_size(std::max(min_top_k, 0));
  for (std::int64_t token = 0; token < num_tokens_; ++token) {
    choices_of(TokenIndex{token}, choices);
    widest = std::max(widest, choices.size());
  }
  auto const entries = to_size(checked_mul(num_tokens_, static_cast<std::int64_t>(widest)));
  std::vector<std::int32_t> ids(entries, -1);
  std::vector<float> weights(entries, 0.0F);
  for (std::int64_t token = 0; token < num_tokens_; ++token) {
    choices_of(TokenIndex{token}, choices);
    sort_by_expert(choices);
    for (std::size_t slot = 0; slot < choices.size(); ++slot) {
      ids[to_size(token) * widest + slot] = choices[slot].expert.value();
      weights[to_size(token) * widest + slot] = choices[slot].weight;
    }
  }
  return from_topk(num_tokens_, num_experts_, static_cast<int>(widest), std::move(ids), std::move(weights));
}

}  // namespace switchyard
