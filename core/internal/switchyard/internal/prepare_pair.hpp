// SPDX-License-Identifier: Apache-2.0
/// What the prepare/finalize pairs of both backends share: checks of their options, their shape and their plan.
#pragma once

#include <cstdint>
#include <optional>
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
/// @throws Error{invalid_argument} or Error{shape_mismatch} for a routing that the pair does not take
void check_prepare_routing(PrepareTraits const& traits, PrepareShape const& shape, PrepareInputs const& inputs);

/// Bytes of a row on its way: its values, or its codes with its scales behind them, in whole 16-byte words.
struct PacketSizes {
  std::int64_t row_bytes = 0;
  std::int64_t code_bytes = 0;   ///< 0: plain rows
  std::int64_t scale_bytes = 0;  ///< 0 also when all rows share one scale
};
/// @param quant of the rows on the wire; nothing = plain rows of `dtype`
[[nodiscard]] PacketSizes packet_sizes(std::int64_t hidden, DType dtype, std::optional<QuantSpec> const& quant);

/// The plan of a kind that communicates. Collective.
[[nodiscard]] DispatchPlan plan_prepare(PrepareKind kind, Communicator& comm, RoutingMap const& routing,
                                        ExpertPlacement const& placement, PrepareOptions const& options);

}  // namespace switchyard::internal
