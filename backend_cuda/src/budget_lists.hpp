// SPDX-License-Identifier: Apache-2.0
/// BudgetPlan::Lists: the slots of a plan made in steps, and the lists that say what stands in them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
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
  std::vector<std::int64_t> sent_on_host;  ///< [world] where the host reads splits
  std::vector<std::int64_t> received_on_host;
};

/// What one call sent.
struct BudgetSent {
  BudgetRoute const* route = nullptr;
  std::int64_t row_bytes = 0;
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
};

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
  [[nodiscard]] bool is_alltoall() const;
  /// The step's weights, [tokens, columns], after a capacity.
  [[nodiscard]] float const* kept_weights() const {
    return options.planner.capacity ? planner.kept_weights() : weights;
  }
  /// Whether a dispatch brings weights along.
  [[nodiscard]] bool carries_weights() const { return options.carries_weights && !is_alltoall(); }
  /// The route of dispatch.
  [[nodiscard]] BudgetRoute const& outward() const { return is_alltoall() ? single : carried; }
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
  /// @throws what the group's word says; clears it and the planner's.
  void check(StreamView stream);
  [[noreturn]] void throw_group_error(BudgetState const& found) const;
  [[nodiscard]] BudgetTraffic traffic(StreamView stream) const;

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
  DeviceBuffer first_rank_sum;  ///< [tokens + 1] multiples of ranks_of_token
  DeviceBuffer expert_weights;  ///< [expert rows] f32 in the expansion's order, of the last dispatch
  DeviceBuffer term_weights;    ///< of terms at the source or at the experts, f64 at most
  DeviceBuffer row_begin;       ///< chunks
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
  BudgetSent sent_out;   ///< by the last dispatch
  BudgetSent sent_back;  ///< by the last combine
};

}  // namespace switchyard::cuda
