// SPDX-License-Identifier: Apache-2.0
/// FusedPlan::Lists: where rows of a Flex plan stand in the windows. Slot of the row at place p of the block that rank
/// s sends: s * capacity + p, on the receiver; the partial of that row returns to slot d * capacity + p of rank s,
/// where d is the rank that made it.
#pragma once

#include <cstdint>
#include <optional>

#include "device_lists.hpp"
#include "fused_kernels.hpp"
#include "fused_plan_block.hpp"
#include "fused_plan_kernels.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/cuda/fused_executor.hpp"

namespace switchyard::cuda {

/// Announcements of a planned step: every rank sends its chunks to every peer, as if they were rows of tokens.
struct FusedTables {
  FusedTables(FusedWindows const& windows, DevicePlanner const& planner, std::int64_t chunk_bytes);
  /// @param call without what ranks send and expect
  [[nodiscard]] FusedDispatchParams params(FusedCall call, DevicePlanner const& planner) const;

  std::int64_t chunk_bytes;
  std::int64_t chunks;   ///< of a rank
  DeviceBuffer rows_to;  ///< [world] i64, sent and received alike
  DeviceBuffer sent_begin;
  DeviceBuffer sent_to;
  DeviceBuffer sent_slot;
  DeviceBuffer own_terms;
  DeviceBuffer remote_terms;
  DeviceBuffer remote_from;
  DeviceBuffer remote_slot;
  DeviceBuffer places;
  DeviceBuffer no_columns;
  DeviceBuffer no_weights;
};

struct FusedPlan::Lists {
  /// @param plan that FusedExecutor::refusal() does not refuse
  Lists(DevicePlan const& plan, std::int64_t capacity);
  /// Lists that every planned step writes.
  Lists(DevicePlannerConfig const& config, FusedWindows const& windows, ExpertPlacement const& placement, int layer,
        std::int64_t chunk_bytes);

  [[nodiscard]] FusedRemoteRows remote() const {
    return {remote_terms.as<FusedTerms const>(), remote_from.as<std::int32_t const>(),
            remote_slot.as<std::int32_t const>(), num_remote, remote_count.as<std::int64_t const>()};
  }
  /// What turns the planner's lists into these.
  [[nodiscard]] FusedPlanParams plan_params(FusedWindows const& windows) const;
  /// What one block plans a step with, where there are no tables. @param call without what ranks send and expect
  /// @throws Error{invalid_argument} for a routing that the planner was not made for
  [[nodiscard]] FusedPlanBlockParams block_params(FusedCall call, DeviceRouting const& routing) const;

  std::optional<DevicePlanner> planner;  ///< of a plan that steps make
  std::optional<FusedTables> tables;     ///< of the chain of kernels; none where one block plans
  DeviceBuffer choices_to;               ///< [world] i64, where one block plans: sent and received alike
  std::int64_t num_tokens = 0;
  std::int64_t slot_columns = 0;
  std::int64_t expert_rows = 0;                 ///< of the plan, or the budget of planned steps
  std::int64_t const* sent_rows = nullptr;      ///< [world] device
  std::int64_t const* received_rows = nullptr;  ///< [world] device
  std::uint64_t digest = 0;                     ///< of what ranks share of the plan
  DeviceBuffer splits[2];                       ///< of a plan made on the host
  DeviceBuffer sent_begin;                      ///< as the five below: see FusedDispatchParams
  DeviceBuffer sent_to;
  DeviceBuffer sent_slot;
  DeviceBuffer own_terms;
  DeviceBuffer places;
  DeviceBuffer term_column;
  DeviceBuffer remote_terms;  ///< as the three below: see FusedRemoteRows and FusedCombineParams
  DeviceBuffer remote_from;
  DeviceBuffer remote_slot;
  DeviceBuffer return_slot;
  std::int64_t num_remote = 0;  ///< in planned steps: at most
  DeviceBuffer remote_count;    ///< planned steps: i64
  DeviceBuffer join_begin;      ///< [T + 1] i32
  DeviceBuffer join_slots;      ///< i32
  DeviceBuffer term_weights;    ///< [terms] f32, of the last dispatch
};

}  // namespace switchyard::cuda
