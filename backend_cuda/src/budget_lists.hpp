// SPDX-License-Identifier: Apache-2.0
/// BudgetPlan::Lists: the slots of a plan made in steps, and the lists that say what stands in them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

#include "budget_kernels.hpp"
#include "switchyard/cuda/budget_plan.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/pinned_buffer.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard::cuda {

/// One kind of rows that travel, in the direction of the experts.
struct BudgetRoute {
  std::int64_t slot_rows = 0;  ///< 0: they do not travel
  std::int64_t const* sent = nullptr;
  std::int64_t const* received = nullptr;
  DeviceGather rows;                       ///< rows to send by token
  BudgetLanes lanes{};                     ///< the order of its slots
  std::vector<std::int64_t> sent_on_host;  ///< [world] where the host reads splits
  std::vector<std::int64_t> received_on_host;
};

/// Slots that a call sent: those of the ranks that `counts` says, as often as `copies` says.
struct BudgetSent {
  std::int64_t const* rows = nullptr;  ///< [world], device: what they held
  std::int64_t slot_rows = 0;
  std::int64_t row_bytes = 0;
  int copies = 1;
  bool of_lane = true;         ///< of this rank's lane, or else of the other lanes
  bool of_other_lanes = true;  ///< both: of all ranks
  bool of_self = false;
};

/// What a combine moved to join parts of the expert rows' budget, each TP rank a share of it; bytes per row.
struct BudgetShares {
  std::int64_t part_bytes = 0;
  std::int64_t joined_bytes = 0;
};

/// Slots that travel together.
struct BudgetSlots {
  DeviceBuffer const& buffer;
  std::int64_t row_bytes;
};

/// One exchange of slots on the host's side.
struct BudgetCall {
  std::string_view operation;
  std::uint64_t digest;
  StreamView stream;
  std::optional<Duration> deadline;
  bool within_lane = false;  ///< rows travel between ranks of one TP index only
};

/// Whether a dispatch of the family moves one row per (token, slot).
[[nodiscard]] inline bool moves_single_rows(DispatchFamily family) {
  return family == DispatchFamily::megatron_alltoall || family == DispatchFamily::megablocks;
}

/// @throws as BudgetPlan's constructor
void require_budget_options(BudgetOptions const& options, ExpertPlacement const& placement);
/// Sound options with every size that the caller left open. @param columns of the slot table
[[nodiscard]] BudgetOptions completed_options(BudgetOptions options, ExpertPlacement const& placement,
                                              std::int64_t columns);

struct BudgetPlan::Lists {
  Lists(BudgetOptions const& given, RankId rank, ExpertPlacement const& placement, int layer);
  /// What options and budgets a rank was given, for all ranks to compare.
  void compare_options(DeviceCommunicator& comm);

  void add_routes();
  void add_slots();
  void add_terms();
  [[nodiscard]] std::int64_t most_tokens() const { return std::max<std::int64_t>(1, options.planner.max_tokens); }
  [[nodiscard]] bool dispatches_singles() const;
  /// The step's weights, [tokens, columns], after a capacity.
  [[nodiscard]] float const* kept_weights() const {
    return options.planner.capacity ? planner.kept_weights() : weights;
  }
  /// Whether a dispatch brings weights along.
  [[nodiscard]] bool carries_weights() const { return options.carries_weights && !dispatches_singles(); }
  [[nodiscard]] ExpertParallelGrid grid() const { return options.planner.grid; }
  /// Whether TP ranks hold parts of every expert row.
  [[nodiscard]] bool has_parts() const { return grid().tp > 1; }
  /// Where a slot's first row stands among rows of `row_bytes`.
  [[nodiscard]] std::byte* sent_slot(BudgetRoute const& route, RankId rank, std::int64_t row_bytes) const {
    return slots.as<std::byte>() + route.lanes.slot_of(rank.value()) * route.slot_rows * row_bytes;
  }
  [[nodiscard]] std::byte* received_slot(BudgetRoute const& route, RankId rank, std::int64_t row_bytes) const {
    return sent_slot(route, rank, row_bytes) + world * route.slot_rows * row_bytes;
  }
  /// The route of dispatch.
  [[nodiscard]] BudgetRoute const& outward() const { return dispatches_singles() ? single : carried; }
  /// @param is_back towards the tokens
  [[nodiscard]] BudgetExchange exchange(BudgetRoute const& route, bool is_back, std::uint64_t digest) const;
  [[nodiscard]] BudgetChunks chunks() const;
  /// Makes what follows from the planner's lists, behind planner.plan().
  void plan(StreamView stream);
  /// Waits for the stream.
  void read_splits(StreamView stream);
  /// Sends and receives slots, and the words of all ranks.
  void move(DeviceCommunicator& comm, BudgetRoute const& route, bool is_back, BudgetCall const& call,
            std::initializer_list<BudgetSlots> all_slots);
  /// Slots that a lane brought to each of its ranks go on to the TP ranks of the same experts, so that all of them have
  /// the slots of every source.
  void gather_in_group(DeviceCommunicator& comm, BudgetCall const& call, std::int64_t row_bytes);
  /// The way back: every TP rank's parts of the rows of this rank's lane, in the slots of its sources, one TP rank's
  /// behind the other's where slots received stand. @param row_bytes of f32
  void reduce_in_group(DeviceCommunicator& comm, BudgetCall const& call, std::int64_t row_bytes);
  /// Rows of a source's slot that travel within the group.
  [[nodiscard]] std::int64_t arrived_rows(RankId source) const {
    return options.exact_splits ? std::min(arrived_on_host[source.index()], single.slot_rows) : single.slot_rows;
  }
  /// Expert rows whose parts are joined: the plan's where the host knows them, else the budget.
  [[nodiscard]] std::int64_t joined_rows() const {
    std::int64_t const all = planner.max_expert_rows();
    if (!options.exact_splits) return all;
    return std::min(all, std::accumulate(arrived_on_host.begin(), arrived_on_host.end(), std::int64_t{0}));
  }
  /// @throws what the group's word says; clears it and the planner's.
  void check(StreamView stream);
  [[noreturn]] void throw_group_error(BudgetState const& found) const;
  [[nodiscard]] BudgetTraffic traffic(StreamView stream) const;
  /// For traffic(): bytes per row of a dispatch; of a combine of single rows, which were parts or not; of one by
  /// partials, of which only this rank's lane takes part, or all ranks.
  void note_dispatch(std::int64_t row_bytes);
  void note_singles(std::int64_t row_bytes, std::int64_t part_bytes);
  void note_partials(std::int64_t row_bytes, BudgetShares const& shares);

  BudgetOptions options;
  DispatchPlan skeleton;  ///< what the host knows of the step's plan
  DevicePlanner planner;
  int world;
  std::int64_t columns;
  float const* weights = nullptr;         ///< [tokens, columns] of the step's routing
  std::int32_t const* experts = nullptr;  ///< [tokens, columns] of the step's routing, for orders by expert
  BudgetRoute carried;
  BudgetRoute single;
  DeviceBuffer state;
  DeviceBuffer said;
  DeviceBuffer heard;
  PinnedBuffer state_host;
  DeviceBuffer slots;         ///< rows
  DeviceBuffer weight_slots;  ///< [2 * world * carried.slot_rows, columns]
  DeviceBuffer send_map;      ///< i32
  DeviceBuffer land_map;      ///< [expert rows] i32
  DeviceBuffer partial_begin;
  DeviceBuffer join_begin;
  DeviceBuffer join_terms;
  std::int64_t ranks_of_token = 0;  ///< whose experts one token can have
  DeviceBuffer rank_begin;          ///< as BudgetRankSumsParams, where single rows travel
  DeviceBuffer rank_terms;
  std::int64_t const* arrived = nullptr;      ///< [world], device: single rows of every source
  std::vector<std::int64_t> arrived_on_host;  ///< [world] where the host reads splits
  DeviceBuffer joined_experts;                ///< i32 of rows that this rank joins, where TP ranks hold parts
  DeviceBuffer first_rank_sum;                ///< [tokens + 1] multiples of ranks_of_token
  DeviceBuffer expert_weights;                ///< [expert rows] f32 in the expansion's order, of the last dispatch
  DeviceBuffer term_weights;                  ///< of terms at the source or at the experts, f64 at most
  DeviceBuffer row_begin;                     ///< chunks
  DeviceBuffer slot_begin;
  DeviceBuffer arrived_choice;  ///< [tokens * columns], as the three below, where single rows travel
  DeviceBuffer sent_choice;
  DeviceBuffer token_of_choice;
  DeviceBuffer choices;  ///< 0, 1, ...
  DeviceBuffer ones;     ///< [max tokens * columns] f32
  // AllGather as carried rows.
  DeviceBuffer gather_rows;
  DeviceBuffer gather_begin;
  DeviceBuffer gather_places;
  DeviceBuffer gather_counts;
  PinnedBuffer splits_host;
  std::vector<DeviceSend> sends;
  std::vector<DeviceReceive> receives;
  std::vector<BudgetSent> sent_out;   ///< by the last dispatch
  std::vector<BudgetSent> sent_back;  ///< by the last combine
  BudgetShares shared_back;           ///< the same
};

}  // namespace switchyard::cuda
