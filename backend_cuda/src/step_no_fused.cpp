// SPDX-License-Identifier: Apache-2.0
// A build without NCCL has no windows.
#include "step_route.hpp"

namespace switchyard::cuda {

RouteAttempt try_fused_route(StepSetup const& /*setup*/) {
  return {nullptr, "this build has no NCCL"};
}

}  // namespace switchyard::cuda
