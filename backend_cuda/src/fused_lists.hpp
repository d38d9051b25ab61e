// SPDX-License-Identifier: Apache-2.0
/// FusedPlan::Lists: where rows of a Flex plan stand in the windows. Slot of the row at place p of the block that rank
/// s sends: s * capacity + p, on the receiver; the partial of that row returns to slot d * capacity + p of rank s,
/// where d is the rank that made it.
#pragma once

#include <cstdint>

#include "device_lists.hpp"
#include "fused_kernels.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/fused_executor.hpp"

namespace switchyard::cuda {

struct FusedPlan::Lists {
  /// @param plan that FusedExecutor::refusal() does not refuse; its device lists outlive this object.
  Lists(DevicePlan const& plan, std::int64_t capacity);

  [[nodiscard]] FusedRemoteRows remote() const {
    return {remote_row.as<std::int32_t const>(), remote_from.as<std::int32_t const>(),
            remote_slot.as<std::int32_t const>(), num_remote};
  }

  DevicePlan::Lists& device;
  std::uint64_t digest;        ///< of what ranks share of the plan
  DeviceBuffer sent_rows;      ///< [world] i64
  DeviceBuffer received_rows;  ///< [world] i64
  DeviceBuffer sent_begin;     ///< i32, as the four below: see FusedDispatchParams
  DeviceBuffer sent_to;
  DeviceBuffer sent_slot;
  DeviceBuffer own_row;
  DeviceBuffer places;
  DeviceBuffer term_column;
  DeviceBuffer remote_row;  ///< i32, as the three below: see FusedRemoteRows and FusedCombineParams
  DeviceBuffer remote_from;
  DeviceBuffer remote_slot;
  DeviceBuffer return_slot;
  std::int64_t num_remote = 0;
  DeviceBuffer join_begin;    ///< [T + 1] i32
  DeviceBuffer join_slots;    ///< i32
  DeviceBuffer term_weights;  ///< [terms] f32, of the last dispatch
};

}  // namespace switchyard::cuda
