// SPDX-License-Identifier: Apache-2.0
/// BudgetPlan: plans that kernels make in every step, with exchanges of slots whose size the host knows beforehand.
#pragma once

#include <cstdint>
#include <memory>

#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/placement/expert_placement.hpp"

namespace switchyard::cuda {

/// Equal on all ranks.
struct BudgetOptions {
  /// What is planned on a device, but for restore megatron_seed, and MegaBlocks on one rank or with hidden shards. Its
  /// max_expert_rows bounds expert rows.
  DevicePlannerConfig planner{};
  std::int64_t max_row_bytes = 0;  ///< of any row that travels: tokens, expert rows (with TP in f32), partials
  /// Flex: (rank, token) rows that one rank may have for another one; 0: planner.max_tokens, which always fits.
  std::int64_t carried_rows = 0;
  /// (token, slot) rows that one rank may have for another one. AlltoAll, MegaBlocks: 0 means all. AllGather and
  /// Flex: the way back of recipes that sum single rows; 0 means that such recipes are not offered.
  std::int64_t single_rows = 0;
  /// AllGather and Flex: dispatch brings the weights that plan() was given to the experts, and combines by partials use
  /// these in place of theirs, which may then be left out: one exchange less.
  bool carries_weights = false;
  /// The host reads the splits of every plan once, and messages hold the plan's rows only: nothing is moved in vain,
  /// but plan() waits for the stream and is not for capture.
  bool exact_splits = false;
};

/// Bytes of the last dispatch and combine that this rank sent to others.
struct BudgetTraffic {
  std::int64_t moved_bytes = 0;   ///< slots as a whole
  std::int64_t needed_bytes = 0;  ///< the rows in them
};

/// What CudaExecutor runs without the host knowing any count: plan(), dispatch() and combine() with a BudgetPlan in
/// place of a DevicePlan issue kernels and exchanges of fixed size only. Bytes equal those of the exact path.
///
/// Every exchange carries a word of each rank: the number of the exchange, a digest of the call, an error and the rows
/// needed. From the first error of any rank on, all outputs are zeros on every rank, and CudaExecutor::check() raises
/// the same error on every rank and makes the plan usable again.
///
/// One object belongs to one executor and one stream at a time. Memory: the planner's, and 2 x world x slot rows.
class BudgetPlan {
 public:
  /// Collective: ranks compare their options. @param comm used now only; the executor's later.
  /// @throws Error{desync} on every rank, naming a pair of ranks that differ and both values; Error{unsupported} for
  /// megatron_seed, MegaBlocks on one rank or with hidden shards, or more than 1,024 ranks; Error{invalid_argument} for
  /// sizes; and as DevicePlanner's constructor.
  BudgetPlan(DeviceCommunicator& comm, BudgetOptions const& options, ExpertPlacement const& placement, int layer);
  ~BudgetPlan();
  BudgetPlan(BudgetPlan&&) noexcept;
  BudgetPlan& operator=(BudgetPlan&&) noexcept;

  /// Rows of the tensors that experts see, of which planner().lists().numbers->expert_rows are written.
  [[nodiscard]] std::int64_t expert_rows() const noexcept;
  /// The plan's lists, numbers, fingerprint.
  [[nodiscard]] DevicePlanner const& planner() const noexcept;
  [[nodiscard]] BudgetOptions const& options() const noexcept;

  struct Lists;
  /// For the executor.
  [[nodiscard]] Lists& lists() const noexcept { return *lists_; }

 private:
  std::unique_ptr<Lists> lists_;
};

}  // namespace switchyard::cuda
