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

/// The lane32 sum of the one or two largest values of a row, by one lane. Which of equal ones are taken does not change
/// it, so the row may be walked from anywhere: lanes that start at different elements do not wait for each other.
SWITCHYARD_HD inline float sum_of_largest(std::uint32_t const* keys, std::int32_t count, std::int32_t start,
                                          std::int32_t taken) noexcept {
  std::uint32_t first = 0;
  std::uint32_t second = 0;
  for (std::int32_t i = 0; i < count; ++i) {
    std::int32_t const from_start = start + i;
    std::uint32_t const key = keys[from_start < count ? from_start : from_start - count];
    std::uint32_t const lower = key < first ? key : first;
    first = key > first ? key : first;
    second = lower > second ? lower : second;
  }
  // +0 in place of a second value changes nothing.
  float const values[] = {value_of_key(first), taken == 2 ? value_of_key(second) : 0.0f};
  return lane32_sum(2, Elements{values});
}

/// Any number of largest values, by all lanes.
template <typename Lanes>
SWITCHYARD_HD inline float sum_of_largest(LaneCrew<Lanes> const& crew, std::uint32_t const* keys, std::int32_t count,
                                          std::int32_t taken, float* largest) noexcept {
  crew.take_largest(keys, count, taken,
                    [=](std::int32_t rank, std::int32_t e) { largest[rank] = value_of_key(keys[e]); });
  return crew.sum(taken, Elements{largest});
}

/// The key of every group's score.
template <typename Lanes>
SWITCHYARD_HD inline void score_groups(LaneCrew<Lanes> const& crew, RouterStep const& step, std::uint32_t const* keys,
                                       float* largest, std::uint32_t* keys_of_groups) noexcept {
  constexpr std::int32_t kShort = 64;
  std::int32_t const size = step.num_experts / step.num_groups;
  if (step.scores_per_group <= 2 && size <= kShort)
    return crew.each(step.num_groups, [=](std::int64_t g) {
      auto const group = static_cast<std::int32_t>(g);
      float const sum = sum_of_largest(keys + group * size, size, group % size, step.scores_per_group);
      keys_of_groups[group] = key_of_value(group_score(sum));
    });
  for (std::int32_t group = 0; group < step.num_groups; ++group) {
    float const sum = sum_of_largest(crew, keys + group * size, size, step.scores_per_group, largest);
    crew.each(1, [=](std::int64_t) { keys_of_groups[group] = key_of_value(group_score(sum)); });
  }
}

/// Leaves only the experts of the best groups as candidates.
template <typename Lanes>
SWITCHYARD_HD inline void keep_best_groups(LaneCrew<Lanes> const& crew, RouterStep const& step,
                                           RouterScratch const& scratch, std::uint32_t* keys) noexcept {
  std::int32_t const size = step.num_experts / step.num_groups;
  auto* const keys_of_groups = reinterpret_cast<std::uint32_t*>(scratch.ids);
  score_groups(crew, step, keys, scratch.values, keys_of_groups);
  // A chosen group's key becomes the mark 0, which no group's score has.
  crew.take_largest(keys_of_groups, step.num_groups, step.group_topk,
                    [=](std::int32_t, std::int32_t group) { keys_of_groups[group] = 0; });
  crew.each(step.num_experts, [=](std::int64_t e) {
    if (keys_of_groups[static_cast<std::int32_t>(e) / size] != 0) keys[e] = 0;
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
  crew.write(step.num_experts, keys,
             [=](std::int64_t e) { return detail::key_of_value(detail::choice_value(choice, scores, e)); });
  if (step.num_groups > 1) detail::keep_best_groups(crew, step, scratch, keys);
  crew.take_largest(keys, step.num_experts, step.top_k, [=](std::int32_t rank, std::int32_t e) { ids[rank] = e; });
}

}  // namespace switchyard::hd
