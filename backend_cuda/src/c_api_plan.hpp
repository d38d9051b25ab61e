// SPDX-License-Identifier: Apache-2.0
/// How structs of the C interface become planners' arguments.
#pragma once

#include <cstdint>

#include "switchyard/dispatch/expert_parallel_grid.hpp"
#include "switchyard/routing/routing_map.hpp"
#include "switchyard/switchyard.h"

namespace switchyard::c_api {

[[nodiscard]] ExpertParallelGrid grid_of(switchyard_plan_config const& config);
/// @throws Error{invalid_argument} for null pointers, and as RoutingMap::from_topk().
[[nodiscard]] RoutingMap routing_of(switchyard_routing const& routing);
[[noreturn]] void refuse_family(std::int32_t family);

}  // namespace switchyard::c_api
