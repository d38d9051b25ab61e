// SPDX-License-Identifier: Apache-2.0
/// FusedPlan::Lists: where rows of a Flex plan stand in the windows. Slot of the row at place p of the block that rank
/// s sends: s * capacity + p, on the receiver; the partial of that row returns to slot d * capacity + p of rank s,
/// where d is the rank that made it.
#pragma once

#include <cstdint>

#include "device_lists.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/fused_executor.hpp"

namespace switchyard::cuda {

struct FusedPlan::Lists {
  /// @param plan that FusedExecutor::refusal() does not refuse; its device lists outlive this object.
  Lists(DevicePlan const& plan, std::int64_t capacity);

  DevicePlan::Lists& device;
  std::uint64_t digest;        ///< of what ranks share of the plan
  DeviceBuffer sent_rows;      ///< [world] i64
  DeviceBuffer received_rows;  ///< [world] i64
  DeviceBuffer sent_token;     ///< i32, as the two below: remote rows, peers interleaved
  DeviceBuffer sent_to;
  DeviceBuffer sent_slot;
  std::int64_t num_sent = 0;
  DeviceBuffer own_token;  ///< [num_own] i32
  std::int64_t first_own = 0;
  std::int64_t num_own = 0;
  DeviceBuffer places;         ///< i32 expert rows of every received row
  DeviceBuffer received_slot;  ///< [received] i32, negative: own
  DeviceBuffer return_to;      ///< [received] i32
  DeviceBuffer return_slot;    ///< [received] i32
  DeviceBuffer partial_order;  ///< [received] i32, destinations interleaved
  std::int64_t num_received = 0;
  DeviceBuffer term_own;     ///< [terms] i64, as FusedWeightsParams
  DeviceBuffer term_slot;    ///< [terms] i32
  DeviceBuffer term_column;  ///< [terms] i32
  DeviceBuffer join_begin;   ///< [T + 1] i64
  DeviceBuffer join_slots;   ///< i64
  DeviceBuffer term_weights;
};

}  // namespace switchyard::cuda
