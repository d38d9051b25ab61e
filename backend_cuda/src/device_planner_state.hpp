// SPDX-License-Identifier: Apache-2.0
/// DevicePlanner::State: the plan's skeleton, which the host knows, and the memory of what kernels fill in.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "plan_bins.hpp"
#include "plan_block.hpp"
#include "planner_kernels.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/cuda/pinned_buffer.hpp"

namespace switchyard::cuda {

/// core's plan for ranks without tokens: the stages of every plan with this configuration, their lists empty but for
/// what no routing changes. @throws as core's planner
[[nodiscard]] DispatchPlan plan_skeleton(DevicePlannerConfig const& config, RankId rank,
                                         ExpertPlacement const& placement, int layer);

/// The memory of a RowGather; lists that nobody wants are empty.
struct GatherMemory {
  [[nodiscard]] DeviceGather gather() const;
  /// The same to be written.
  [[nodiscard]] PlanGather target() const;

  DeviceBuffer row_input;
  DeviceBuffer row_column;
  DeviceBuffer input_begin;
  DeviceBuffer input_rows;
};

/// The memory of one sort's counts and lists.
struct SortMemory {
  SortMemory() = default;
  /// @param max_inputs entries of row_begin but the last
  SortMemory(PlanSort const& shape, std::int64_t max_rows, std::int64_t max_inputs);
  void attach_to(PlanSort& sort) const;

  std::int64_t max_rows = 0;
  DeviceBuffer prefix;
  DeviceBuffer totals;
  GatherMemory lists;
};

/// MegaBlocks' last stages.
struct BinMemory {
  std::int64_t max_sorted_rows = 0;
  std::int64_t capacity = -1;  ///< of the step, as PlanBinsParams has it
  std::int32_t blocks = 1;     ///< expert blocks
  DeviceBuffer shard_repeat;
  DeviceBuffer bin_rows;
  DeviceBuffer bin_begin;
  DeviceBuffer kept_begin;
  DeviceBuffer sorted_begin;
  DeviceBuffer source_begin;
  GatherMemory sort;
  GatherMemory binned;
};

/// A list of a plan: where it lies on the device, how long it is, and where it goes in a DispatchPlan.
struct BoundList {
  PlanList list;
  std::vector<std::int64_t>* target;
  std::int64_t* scalar;  ///< the list is one number of the plan; target is null
};

struct DevicePlanner::State {
  State(DevicePlannerConfig const& given, RankId rank, ExpertPlacement const& placement, int layer);

  void add_tables(ExpertPlacement const& placement, int layer);
  void add_sorts();
  void add_lists();
  [[nodiscard]] PlanSort sort_of(hd::PlanKey key) const;
  void add_sort(PlanSort sort, std::int64_t max_rows, std::int64_t max_inputs, SortMemory& memory);
  [[nodiscard]] PlanFinish finish() const;
  [[nodiscard]] PlanBlockShape block_shape() const;
  /// Whether one block makes the plan.
  [[nodiscard]] bool plans_in_one_block() const;
  void require_routing(DeviceRouting const& routing) const;
  [[nodiscard]] PlanSlotsParams slots_params(DeviceRouting const& routing) const;
  [[nodiscard]] std::optional<CapacityLimit> limit_of(std::int64_t tokens) const;
  /// Routing after drop and pad. @return what the slots follow from
  [[nodiscard]] DeviceRouting apply_capacity(DeviceRouting const& routing, StreamView stream) const;
  /// Every list of `plan`, which is the skeleton or a copy of it.
  [[nodiscard]] std::vector<BoundList> bind(DispatchPlan& plan) const;
  class Binder;
  void bind_rows(Binder& binder, DispatchStage& stage) const;
  void bind_carried(Binder& binder, DispatchStage& stage, bool is_first) const;
  void add_bins(int expert_blocks);
  [[nodiscard]] std::int64_t bin_capacity(std::int64_t tokens) const;
  [[nodiscard]] PlanBinsParams bins_params() const;
  void bind_bins(Binder& binder, DispatchPlan& plan) const;
  /// Sets the capacity of bins of a step. @return the limit that the plan names
  std::optional<CapacityLimit> limit_bins(std::int64_t tokens);
  [[nodiscard]] bool is_megablocks() const { return config.family == DispatchFamily::megablocks; }
  /// Announcements hold counts, not slot tables.
  [[nodiscard]] bool announces_counts() const { return is_alltoall() || is_megablocks(); }
  [[nodiscard]] bool is_alltoall() const { return config.family == DispatchFamily::megatron_alltoall; }
  [[nodiscard]] bool is_flex() const { return config.family == DispatchFamily::megatron_flex; }

  DevicePlannerConfig config;
  DispatchPlan skeleton;
  int world;
  std::int32_t columns;  ///< of the slot table: config.columns, or the experts after a capacity
  std::uint64_t configuration = 0;
  std::optional<CapacityLimit> limit{};
  std::int64_t max_expert_rows = 0;
  std::int64_t block_bytes = 0;
  PlanSorts sorts{};
  int own = -1;
  int unique = -1;
  int arrival = -1;

  DeviceBuffer replica_begin;
  DeviceBuffer replica_slots;
  DeviceBuffer fixed;
  DeviceBuffer rank_of_slot;
  DeviceBuffer first_slot_of;
  DeviceBuffer source_at;
  DeviceBuffer position_of;
  DeviceBuffer chunk_of;
  DeviceBuffer chunk_order;
  DeviceBuffer own_block;      ///< AlltoAll: the slot table, which stays here
  DeviceBuffer announcements;  ///< of all ranks
  DeviceBuffer dense_map;
  DeviceBuffer dense_weights;
  DeviceBuffer kept_map;
  DeviceBuffer kept_weights;
  SortMemory rows;
  SortMemory sent;
  SortMemory expansion;
  BinMemory bins;
  DeviceBuffer rows_per_slot;
  DeviceBuffer tokens_per_local;
  DeviceBuffer chunk_sizes;
  DeviceBuffer arrived;
  DeviceBuffer lane_send;
  DeviceBuffer lane_receive;
  DeviceBuffer tp_own;
  DeviceBuffer tp_receive;
  DeviceBuffer rank_send;
  DeviceBuffer rank_receive;
  DeviceBuffer tokens_of_rank;
  DeviceBuffer numbers;
  DeviceBuffer error;
  PinnedBuffer error_host;
  DevicePlanLists lists;
};

}  // namespace switchyard::cuda
