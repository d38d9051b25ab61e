// SPDX-License-Identifier: Apache-2.0
/// The text of a planner's error word, for the rank that has it and for ranks that were told of it.
#pragma once

#include <cstdint>

#include "planner_kernels.hpp"
#include "switchyard/cuda/device_planner.hpp"

namespace switchyard::cuda {

/// What the text names besides the word itself.
struct PlanErrorFacts {
  int rank;              ///< that has the error
  std::int64_t columns;  ///< numbered_columns()
  std::int64_t max_expert_rows;
};

/// @return columns of the table in which choices at fault are numbered. @param columns of the slot table
[[nodiscard]] std::int64_t numbered_columns(DevicePlannerConfig const& config, std::int64_t columns);

/// @param word not 0. @throws what DevicePlanner::check() says
[[noreturn]] void throw_plan_error(std::uint64_t word, PlanErrorFacts const& facts);

}  // namespace switchyard::cuda
