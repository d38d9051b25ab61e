// SPDX-License-Identifier: Apache-2.0
/// The launcher that makes the plan of a small step of the fused path, from routing ids to the windows' slots.
#pragma once

#include "fused_plan_kernels.hpp"
#include "plan_block.hpp"

namespace switchyard::cuda {

struct FusedPlanBlockParams {
  FusedCall call;  ///< sends and expects as many rows as a rank has choices at most
  PlanBlockShape shape;
  PlanSlotsParams routing;  ///< of `routing.tokens` tokens; nothing is written
  PlanSorts sorts;
  PlanFinish finish;
  FusedPlanParams lists;
};
/// Loads the kernel before the first step, as load_fused_dispatch(). @throws Error{cuda}
void load_fused_plan_block();
/// An operation of the windows. Choices travel as words that carry the operation's number, without a fence.
/// Asynchronous in `stream`, no allocation, capturable. `shape` fits one block and the windows' words.
/// @throws Error{cuda} if the launch is refused.
void launch_fused_plan_block(FusedPlanBlockParams const& params, StreamView stream);

}  // namespace switchyard::cuda
