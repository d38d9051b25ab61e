// SPDX-License-Identifier: Apache-2.0
/// The launcher that turns a device planner's lists into those of the fused path.
#pragma once

#include <cstdint>

#include "fused_kernels.hpp"
#include "planner_kernels.hpp"
#include "switchyard/cuda/device_planner.hpp"

namespace switchyard::cuda {

/// Lists as FusedDispatchParams and FusedCombineParams want them; a token's destinations in ascending order, received
/// rows of peers in turns.
struct FusedPlanParams {
  FusedWindows windows;
  DevicePlanLists lists;
  std::int64_t tokens;                   ///< entries of own_terms; those the plan has not are for nobody
  unsigned long long const* plan_error;  ///< the planner's word; if it is set, so is the windows'
  std::int64_t max_expert_rows;
  std::int32_t* sent_begin;  ///< [tokens + 1]
  std::int32_t* sent_to;
  std::int32_t* sent_slot;
  FusedTerms* own_terms;      ///< [tokens]
  std::int32_t* places;       ///< [max_expert_rows]
  std::int32_t* term_column;  ///< [max_expert_rows]
  FusedTerms* remote_terms;
  std::int32_t* remote_from;
  std::int32_t* remote_slot;
  std::int32_t* return_slot;
  std::int64_t* num_remote;
  std::int32_t* join_begin;  ///< [tokens + 1]
  std::int32_t* join_slots;
};
/// Loads the kernel before the first step, as load_fused_dispatch(). @throws Error{cuda}
void load_fused_plan();
/// Asynchronous in `stream`, no allocation, capturable. @param max_received rows that can arrive
/// @throws Error{cuda} if the launch is refused.
void launch_fused_plan(FusedPlanParams const& params, std::int64_t max_received, StreamView stream);

}  // namespace switchyard::cuda
