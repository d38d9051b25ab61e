// SPDX-License-Identifier: Apache-2.0
/// The choice of experts by a crew of 32 lanes: the one stage of routing that such a crew does in another way than a
/// thread alone. Its result is the same: values descending, -0 equal to +0, ties to the lower index.
#pragma once

#include <cstdint>

#include "switchyard/hd/lane_crew.hpp"
#include "switchyard/hd/plan_step.hpp"
#include "switchyard/hd/router_step.hpp"

namespace switchyard::hd {

/// Entries of RouterScratch's values and of its ids for a crew of lanes: a group's largest values, all groups' keys.
SWITCHYARD_HD constexpr std::int32_t lane_scratch_entries(RouterStep const& step) noexcept {
  if (step.num_groups == 1) return 0;
  return step.scores_per_group > step.num_groups ? step.scores_per_group : step.num_groups;
}

namespace detail {

/// Orders like the value. 0, which no number has, stands for an expert that is no candidate.
SWITCHYARD_HD inline std::uint32_t key_of_value(float value) noexcept {
  return order_of_bits(bits_to<std::uint32_t>(value));
}
SWITCHYARD_HD inline float value_of_key(std::uint32_t key) noexcept {
  return bits_to<float>((key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key);
}

/// Leaves only the experts of the best groups as candidates.
template <typename Lanes>
SWITCHYARD_HD inline void keep_best_groups(LaneCrew<Lanes> const& crew, RouterStep const& step,
                                           RouterScratch const& scratch, std::uint32_t* keys) noexcept {
  std::int32_t const group_size = step.num_experts / step.num_groups;
  float* const largest = scratch.values;
  auto* const keys_of_groups = reinterpret_cast<std::uint32_t*>(scratch.ids);
  for (std::int32_t group = 0; group < step.num_groups; ++group) {
    std::uint32_t const* const own = keys + group * group_size;
    crew.take_largest(own, group_size, step.scores_per_group,
                      [=](std::int32_t rank, std::int32_t e) { largest[rank] = value_of_key(own[e]); });
    float const score = group_score(crew.sum(step.scores_per_group, Elements{largest}));
    crew.each(1, [=](std::int64_t) { keys_of_groups[group] = key_of_value(score); });
  }
  // A chosen group's key becomes the mark 0, which no group's score has.
  crew.take_largest(keys_of_groups, step.num_groups, step.group_topk,
                    [=](std::int32_t, std::int32_t group) { keys_of_groups[group] = 0; });
  crew.each(step.num_experts, [=](std::int64_t e) {
    if (keys_of_groups[static_cast<std::int32_t>(e) / group_size] != 0) keys[e] = 0;
  });
}

}  // namespace detail

/// As that of a thread alone; the last parameter is not needed.
template <typename Lanes>
SWITCHYARD_HD inline void choose_experts(LaneCrew<Lanes> const& crew, RouterStep const& step,
                                         RouterChoice const& choice, RouterScratch const& scratch, std::int32_t* ids,
                                         float*) noexcept {
  auto* const keys = reinterpret_cast<std::uint32_t*>(scratch.biased);
  float const* const scores = scratch.scores;
  crew.each(step.num_experts,
            [=](std::int64_t e) { keys[e] = detail::key_of_value(detail::choice_value(choice, scores, e)); });
  if (step.num_groups > 1) detail::keep_best_groups(crew, step, scratch, keys);
  crew.take_largest(keys, step.num_experts, step.top_k, [=](std::int32_t rank, std::int32_t e) { ids[rank] = e; });
}

}  // namespace switchyard::hd
