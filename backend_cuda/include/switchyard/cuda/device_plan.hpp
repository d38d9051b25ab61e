// SPDX-License-Identifier: Apache-2.0
/// DevicePlan: a DispatchPlan whose row maps and term lists lie on a GPU. Plan once, run many times.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard::cuda {

/// How an exchange of single rows lands. Results are equal; all ranks must choose alike (ranks compare it).
enum class ReceiveLayout : std::uint8_t {
  blocks,  ///< one message per peer, sorted by a kernel: few messages, one more pass over the rows
  chunks,  ///< every (source rank, local expert) chunk goes straight to its place: no sort, many small messages
};

struct DevicePlanOptions {
  ReceiveLayout layout = ReceiveLayout::blocks;
  /// [T * slot_columns] logical experts, as RoutingMap::ids(); read by source_expert_order only. Empty for a dense
  /// routing, whose slots are the experts.
  std::span<std::int32_t const> experts{};
};

/// Owned by one rank, on the device that was current when it was made; move-only. Lists that only some recipes need are
/// made when the first call asks for them; after that calls allocate nothing for the plan.
class DevicePlan {
 public:
  /// @throws Error{invalid_plan} unless the plan is valid, Error{out_of_memory}, Error{cuda}. O(plan size).
  explicit DevicePlan(DispatchPlan plan, DevicePlanOptions const& options = {});
  ~DevicePlan();
  DevicePlan(DevicePlan&&) noexcept;
  DevicePlan& operator=(DevicePlan&&) noexcept;

  [[nodiscard]] DispatchPlan const& plan() const noexcept;

  struct Lists;
  /// For the executor.
  [[nodiscard]] Lists& lists() const noexcept { return *lists_; }

 private:
  std::unique_ptr<Lists> lists_;
};

}  // namespace switchyard::cuda
