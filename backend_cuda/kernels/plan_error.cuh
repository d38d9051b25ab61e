// SPDX-License-Identifier: Apache-2.0
/// The planner's sticky error word on the device.
#pragma once

#include "planner_kernels.hpp"

namespace switchyard::cuda {

__device__ inline void raise_plan_error(unsigned long long* word, PlanError kind, std::uint64_t detail) {
  atomicMax(word, static_cast<unsigned long long>(kind) << kPlanErrorShift | (detail & kPlanDetailMask));
}
/// Of several choices at fault the lowest one stays.
__device__ inline void raise_choice_error(unsigned long long* word, PlanError kind, std::int64_t choice) {
  raise_plan_error(word, kind, kPlanDetailMask - static_cast<std::uint64_t>(choice));
}

}  // namespace switchyard::cuda
