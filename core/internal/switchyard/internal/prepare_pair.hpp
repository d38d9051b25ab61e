// SPDX-License-Identifier: Apache-2.0
/// What the prepare/finalize pairs of both backends share: checks of their options, their shape and their plan.
#pragma once

#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/experts/prepare_options.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard::internal {

/// Whether a kind leaves tokens where they are.
[[nodiscard]] bool is_local(PrepareKind kind) noexcept;
/// @throws as a backend's make_prepare_finalize()
void check_prepare_options(PrepareKind kind, Communicator const& comm, ExpertPlacement const& placement,
                           PrepareOptions const& options);
[[nodiscard]] PrepareShape prepare_shape(PrepareKind kind, RankId rank, ExpertPlacement const& placement,
                                         PrepareOptions const& options);
/// [experts] the local slot of every expert that this rank holds; its first one when it holds replicas.
[[nodiscard]] std::vector<std::int32_t> local_expert_map(ExpertPlacement const& placement, int layer, RankId rank);
/// The plan of a kind that communicates. Collective.
[[nodiscard]] DispatchPlan plan_prepare(PrepareKind kind, Communicator& comm, RoutingMap const& routing,
                                        ExpertPlacement const& placement, PrepareOptions const& options);

}  // namespace switchyard::internal
