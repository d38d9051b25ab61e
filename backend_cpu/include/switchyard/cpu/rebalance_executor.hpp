// SPDX-License-Identifier: Apache-2.0
/// RebalanceExecutor: moves one rank's expert rows as a RebalancePlan says, at once or layer by layer while serving.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/registered_weights.hpp"

namespace switchyard::cpu {

/// When the new rows replace the old ones, and so what a failure leaves behind (DESIGN 6).
enum class RebalanceMode {
  buffered,  ///< everything is staged; one commit after all ranks hold all their rows; a failure leaves `before`
  in_place,  ///< layer by layer, as vLLM does: a failure leaves layers < l in `after` and layers >= l in `before`
};
[[nodiscard]] std::string_view to_string(RebalanceMode mode) noexcept;

struct RebalanceOptions {
  RebalanceMode mode = RebalanceMode::buffered;
  /// A checksum of every row travels with it and is compared before the commit, and again after the slot was written.
  bool verify_rows = true;
  std::optional<Duration> deadline{};  ///< of every collective; the communicator's default when empty
  /// Of a RebalancePlan (ReachablePlan::dead_ranks), ascending: they do nothing in it, and the group may leave them
  /// out; its ranks are then the living ones, ascending. A schedule names its own.
  std::vector<RankId> dead_ranks{};
};

/// What one rank did. Bytes are rows over their tensors, without checksums.
struct RebalanceResult {
  int layers_committed = 0;
  std::int64_t bytes_sent = 0;
  std::int64_t bytes_received = 0;
  std::int64_t bytes_copied = 0;        ///< local copies and duplicates
  std::int64_t peak_staging_bytes = 0;  ///< extra memory: staged rows and checksums
};

/// Executes a plan on one rank. A rank stages its local copies and the rows it receives, all ranks acknowledge, and
/// only then rows are overwritten: the last complete copy of an expert never is. Rows that are unchanged, or empty in
/// `after`, are never written.
///
/// Extra memory: buffered, all rows that this rank copies locally or receives, over all layers; in place and layer by
/// layer, those of the largest layer. It is allocated before anything moves.
///
/// Survivors agree on what was committed because the communicator's acknowledging barrier completes on every rank or on
/// none (InProcessGroup). A rank that fails aborts the communicator, so that no other rank waits for it.
///
/// Source: vLLM vllm/distributed/eplb/rebalance_execute.py (move_to_buffer, move_from_buffer). Unlike it the plan is
/// proved first, ranks compare its digest and the row sizes, rows carry checksums, and layers may differ in shape.
class RebalanceExecutor {
 public:
  /// @param plan must outlive the executor. @throws Error{invalid_plan} when validate() finds a violation, or a dead
  ///        rank of the options has a slot or a part in it; Error{invalid_argument} for a rank outside the plan.
  explicit RebalanceExecutor(RebalancePlan const& plan, RebalanceOptions const& options = {});
  ~RebalanceExecutor();
  RebalanceExecutor(RebalanceExecutor&&) noexcept;
  RebalanceExecutor& operator=(RebalanceExecutor&&) noexcept;

  /// Collective: every rank of the group calls it once with its own weights, one row per slot of the rank's layout.
  /// Moves every layer that was not moved layer by layer before.
  /// @throws Error{shape_mismatch} when group or weights do not fit the plan; Error{desync} on every rank when plans,
  ///         modes or row sizes differ; Error{corrupt_data} naming layer, expert, tensor, sender and receiver when a
  ///         row arrived damaged; Error{out_of_memory} with the staging size; and what the communicator throws.
  ///         committed_placement() says what is in force then.
  RebalanceResult execute(Communicator& comm, RegisteredWeights const& weights);

  /// Layer by layer, as ScheduleExecutor: begin() reserves the memory and agrees on the layer (collective); the first
  /// poll() stages, exchanges and acknowledges it (collective: vLLM's rules know one exchange per layer); commit()
  /// writes the slots (no communication). Until commit() the layer can be served from `before`. Layers in any order,
  /// the same on all ranks, one at a time, each once.
  /// @param comm, weights must outlive the commit. @throws Error{invalid_argument} for a layer outside the plan or
  ///        already moved, or for calls out of order; and as execute().
  void begin(Communicator& comm, RegisteredWeights const& weights, int layer);
  /// @return whether every rank holds every row, so that commit() may follow.
  bool poll();
  void commit();

  /// Collective: exchanges messages of the plan's sizes, layer by layer, and changes no weights; so that transports
  /// allocate what they need before serving starts. May run before anything is moved, any number of times.
  /// Source: vLLM rebalance_execute.py `is_profile`, which gathers one layer's weights whatever the plan needs.
  RebalanceResult profile(Communicator& comm, RegisteredWeights const& weights);

  /// Of everything that this executor has moved so far.
  [[nodiscard]] RebalanceResult const& result() const noexcept;
  /// How many layers are in their new placement; the others are in the old one. execute() goes through them ascending.
  [[nodiscard]] int layers_committed() const noexcept;
  /// The placement that this rank's weights are in now: every layer as in `after` or as in `before`.
  [[nodiscard]] ExpertPlacement committed_placement() const;

 private:
  friend struct RebalanceExecutorAccess;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cpu
