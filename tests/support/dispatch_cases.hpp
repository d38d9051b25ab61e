// SPDX-License-Identifier: Apache-2.0
/// Cases for dispatch tests: one description that feeds both the oracle and the library.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "oracle/dispatch_oracle.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"

namespace support {

inline switchyard::AllToAllConfig config_of(oracle::DispatchCase const& input) {
  switchyard::AllToAllConfig config;
  config.grid = {input.tp, input.ep};
  config.row_order = input.rank_major ? switchyard::RowOrder::rank_major : switchyard::RowOrder::tp_major;
  return config;
}

/// `layers` equal layers, so that a case may sit in any of them.
inline switchyard::ExpertPlacement placement_of(oracle::DispatchCase const& input, int num_experts) {
  std::vector<std::int32_t> counts;
  std::vector<switchyard::ExpertId> one_layer;
  for (auto const& experts : input.experts_of_ep) {
    counts.push_back(static_cast<std::int32_t>(experts.size()));
    for (int const expert : experts) one_layer.emplace_back(expert);
  }
  std::vector<switchyard::ExpertId> all;
  for (int layer = 0; layer <= input.layer; ++layer) all.insert(all.end(), one_layer.begin(), one_layer.end());
  return {input.layer + 1, num_experts, switchyard::SlotLayout(counts), std::move(all)};
}

/// Weights are small distinct multiples of 1/64 unless given by the caller later.
inline switchyard::RoutingMap routing_of(std::vector<std::vector<oracle::Choice>> const& tokens, int num_experts,
                                         int top_k) {
  std::vector<std::int32_t> ids(tokens.size() * static_cast<std::size_t>(top_k), -1);
  std::vector<float> weights(ids.size(), 0.0F);
  for (std::size_t token = 0; token < tokens.size(); ++token)
    for (auto const& choice : tokens[token]) {
      auto const entry = token * static_cast<std::size_t>(top_k) + static_cast<std::size_t>(choice.k);
      ids[entry] = choice.expert;
      weights[entry] = static_cast<float>(1 + entry % 61) / 64.0F;
    }
  return switchyard::RoutingMap::from_topk(static_cast<std::int64_t>(tokens.size()), num_experts, top_k, std::move(ids),
                                           std::move(weights));
}

inline std::vector<switchyard::RoutingMap> routings_of(oracle::DispatchCase const& input, int num_experts, int top_k) {
  std::vector<switchyard::RoutingMap> routings;
  for (auto const& tokens : input.routing) routings.push_back(routing_of(tokens, num_experts, top_k));
  return routings;
}

using Random = std::mt19937_64;

inline int draw(Random& random, int bound) {
  return static_cast<int>(random() % static_cast<std::uint64_t>(bound));
}

/// Experts in contiguous blocks of `local` per EP rank.
inline std::vector<std::vector<int>> contiguous_experts(int ep, int local) {
  std::vector<std::vector<int>> experts(static_cast<std::size_t>(ep));
  for (int e = 0; e < ep * local; ++e) experts[static_cast<std::size_t>(e / local)].push_back(e);
  return experts;
}

/// Every expert at least once, then replicas and empty slots, dealt to ranks at random (ranks may get none).
inline std::vector<std::vector<int>> random_experts(Random& random, int ep, int num_experts) {
  std::vector<int> slots;
  for (int e = 0; e < num_experts; ++e) slots.push_back(e);
  for (int extra = draw(random, 4); extra > 0; --extra) slots.push_back(draw(random, num_experts + 1) - 1);
  std::shuffle(slots.begin(), slots.end(), random);
  std::vector<std::vector<int>> experts(static_cast<std::size_t>(ep));
  for (int const slot : slots) experts[static_cast<std::size_t>(draw(random, ep))].push_back(slot);
  return experts;
}

/// Distinct experts per token; some choices are dropped when `drop` is set, some repeated when `duplicates` is.
inline std::vector<std::vector<oracle::Choice>> random_tokens(Random& random, int tokens, int num_experts, int top_k,
                                                              bool drop, bool duplicates) {
  std::vector<std::vector<oracle::Choice>> result(static_cast<std::size_t>(tokens));
  for (auto& choices : result) {
    std::vector<int> experts;
    for (int e = 0; e < num_experts; ++e) experts.push_back(e);
    std::shuffle(experts.begin(), experts.end(), random);
    for (int k = 0; k < top_k; ++k) {
      if (drop && draw(random, 5) == 0) continue;
      int const pick = duplicates ? draw(random, num_experts) : k % num_experts;
      choices.push_back({experts[static_cast<std::size_t>(pick)], k});
    }
  }
  return result;
}

}  // namespace support
