// SPDX-License-Identifier: Apache-2.0
/// The physical slot of one choice. A choice at fault sets the error word and counts as dropped.
#pragma once

#include <cstdint>

#include "plan_error.cuh"

namespace switchyard::cuda {

/// The expert of a flat choice, -1 = none.
__device__ inline std::int32_t expert_of(PlanSlotsParams const& params, std::int64_t flat) {
  if (params.ids != nullptr) return params.ids[flat];
  return params.map[flat] != 0 ? static_cast<std::int32_t>(flat % params.columns) : -1;
}

/// Choices of the expert between the start of the flat choice's block and itself.
__device__ inline std::int64_t earlier_in_block(PlanSlotsParams const& params, std::int64_t flat, std::int32_t expert) {
  std::int64_t count = 0;
  for (std::int64_t other = flat / hd::kReplicaBlockChoices * hd::kReplicaBlockChoices; other < flat; ++other)
    if (expert_of(params, other) == expert) ++count;
  return count;
}

/// The slot of one of an expert's several replicas; -1: it has none. Out of line: a kernel that seldom comes here
/// should not fetch it.
static __device__ __noinline__ std::int32_t replica_of(PlanSlotsParams const& params, std::int64_t flat,
                                                       std::int32_t expert) {
  std::int32_t const first = params.replica_begin[expert];
  std::int64_t const count = params.replica_begin[expert + 1] - first;
  if (count == 0) {
    raise_choice_error(params.error, PlanError::lost_expert, flat);
    return -1;
  }
  if (count == 1) return params.replica_slots[first];
  std::int64_t known = 0;
  if (params.fixed != nullptr) known = params.fixed[expert];
  if (params.context.rule == ReplicaRule::tensorrt_llm) known = earlier_in_block(params, flat, expert);
  return params.replica_slots[first + hd::replica_index(params.context, flat / params.columns, flat % params.columns,
                                                        count, known)];
}

/// @param only only(expert): the one slot of a valid expert where the caller knows it, else negative
template <typename Only>
__device__ std::int32_t slot_of(PlanSlotsParams const& params, std::int64_t flat, std::int32_t expert,
                                Only const& only) {
  if (expert < 0 || expert >= params.experts) {
    if (expert != -1) raise_choice_error(params.error, PlanError::bad_id, flat);
    return -1;
  }
  if (params.weights != nullptr) {
    float const weight = params.weights[flat];
    if (isnan(weight)) raise_choice_error(params.error, PlanError::bad_weight, flat);
    if (params.drops_zero_weights && weight == 0.0F) return -1;
  }
  std::int32_t const single = only(expert);
  return single >= 0 ? single : replica_of(params, flat, expert);
}

}  // namespace switchyard::cuda
