// SPDX-License-Identifier: Apache-2.0
/// Which Flex plans one block makes alone, in shared memory, and what it needs for that.
#pragma once

#include <cstddef>
#include <cstdint>

#include "planner_kernels.hpp"

namespace switchyard::cuda {

/// Sizes of a Flex batch without TP.
struct PlanBlockShape {
  std::int32_t ranks;
  std::int32_t tokens;  ///< of each rank at most
  std::int32_t columns;
  std::int32_t slots;
};

/// One thread per token and per slot, one warp per rank; sums are packed into fields of so many bits.
inline constexpr std::int32_t kPlanBlockThreads = 1024;
inline constexpr std::int32_t kPlanBlockWarps = kPlanBlockThreads / 32;
inline constexpr std::int64_t kPlanBlockChoices = 4096;

[[nodiscard]] inline bool fits_one_block(PlanBlockShape const& shape) {
  std::int64_t const tokens = std::int64_t{shape.ranks} * shape.tokens;
  return shape.ranks <= kPlanBlockWarps && shape.tokens > 0 && shape.slots > 0 && tokens <= kPlanBlockThreads &&
         shape.slots <= kPlanBlockThreads && tokens * shape.columns <= kPlanBlockChoices;
}

/// The whole plan of a Flex batch from announcements in memory: what launch_plan_count() and launch_plan_place() make.
/// `shape` fits one block.
void launch_plan_block(PlanBlockShape const& shape, PlanSorts const& sorts, PlanFinish const& finish,
                       StreamView stream);
/// Loads the kernel and allows it its shared memory. Once per device, not inside a capture.
void prepare_plan_block();

}  // namespace switchyard::cuda
