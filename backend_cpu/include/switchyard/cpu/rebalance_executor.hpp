// SPDX-License-Identifier: Apache-2.0
/// RebalanceExecutor: moves one rank's expert rows as a RebalancePlan says, through a communicator.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/rebalance/expert_weights.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard::cpu {

/// When the new rows replace the old ones, and so what a failure leaves behind (DESIGN 6).
enum class RebalanceMode {
  buffered,  ///< everything is staged; one commit after all ranks hold all their rows; a failure leaves `before`
  in_place,  ///< layer by layer, as vLLM does: a failure leaves layers < l in `after` and layers >= l in `before`
};
[[nodiscard]] std::string_view to_string(RebalanceMode mode) noexcept;

struct RebalanceOptions {
  RebalanceMode mode = RebalanceMode::buffered;
  bool verify_rows = true;             ///< a checksum of every row travels with it and is compared before the commit
  std::optional<Duration> deadline{};  ///< of every collective; the communicator's default when empty
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
/// Extra memory: buffered, all rows that this rank copies locally or receives, over all layers; in place, those of the
/// largest layer. It is allocated before anything moves.
///
/// Survivors agree on what was committed because the communicator's acknowledging barrier completes on every rank or on
/// none (InProcessGroup). A rank that fails aborts the communicator, so that no other rank waits for it.
///
/// Source: vLLM vllm/distributed/eplb/rebalance_execute.py (move_to_buffer, move_from_buffer). Unlike it the plan is
/// proved first, ranks compare its digest and the row sizes, rows carry checksums, and layers may differ in shape.
class RebalanceExecutor {
 public:
  /// @param plan must outlive the executor. @throws Error{invalid_plan} when validate() finds a violation.
  explicit RebalanceExecutor(RebalancePlan const& plan, RebalanceOptions const& options = {});
  ~RebalanceExecutor();
  RebalanceExecutor(RebalanceExecutor&&) noexcept;
  RebalanceExecutor& operator=(RebalanceExecutor&&) noexcept;

  /// Collective: every rank of the plan calls it once with its own weights, one row per slot of the rank's layout.
  /// @throws Error{shape_mismatch} when group or weights do not fit the plan; Error{desync} on every rank when plans,
  ///         modes or row sizes differ; Error{corrupt_data} naming layer, expert, tensor, sender and receiver when a
  ///         row arrived damaged; Error{out_of_memory} with the staging size; and what the communicator throws.
  ///         committed_placement() says what is in force then.
  RebalanceResult execute(Communicator& comm, ExpertWeights const& weights);

  /// How many layers are in their new placement; the others are in the old one.
  [[nodiscard]] int layers_committed() const noexcept;
  /// The placement that this rank's weights are in now: layers [0, layers_committed()) of `after`, the rest of
  /// `before`.
  [[nodiscard]] ExpertPlacement committed_placement() const;

 private:
  friend struct RebalanceExecutorAccess;
  class Run;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cpu
