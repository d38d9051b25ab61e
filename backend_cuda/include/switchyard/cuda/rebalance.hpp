// SPDX-License-Identifier: Apache-2.0
/// RebalanceExecutor: moves one rank's expert rows in device memory as a RebalancePlan or a RebalanceSchedule says.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"
#include "switchyard/rebalance/registered_weights.hpp"

namespace switchyard::cuda {

/// When the new rows replace the old ones, and so what a failure leaves behind (DESIGN 6).
enum class RebalanceMode {
  buffered,  ///< everything is staged; one commit after all ranks hold all their rows; a failure leaves `before`
  in_place,  ///< layer by layer: committed layers are in `after`, the others in `before`
};

struct RebalanceOptions {
  RebalanceMode mode = RebalanceMode::buffered;
  bool verify_rows = true;  ///< kernels sum rows before they travel, when they arrive and when they are written
  std::optional<Duration> deadline{};  ///< of every collective and wait; the communicator's default when empty
};

/// What one rank did. Bytes are rows over their tensors, without checksums.
struct RebalanceResult {
  int layers_committed = 0;
  std::int64_t bytes_sent = 0;
  std::int64_t bytes_received = 0;
  std::int64_t bytes_copied = 0;        ///< into slots: local copies, duplicates and rows that arrived in spare memory
  std::int64_t peak_staging_bytes = 0;  ///< device memory beside the weights: spare rows and checksums
};

/// How ranks reach each other: `control` to agree, `data` for rows. An NcclCommunicator is both.
struct RebalanceLinks {
  Communicator& control;
  DeviceCommunicator& data;
};

/// Executes a plan (one round per layer, everything staged) or a schedule (its rounds, its spare rows) on one rank. The
/// weights hold device pointers; results are the bytes that the CPU backend leaves for the same plan.
///
/// Rows move on a stream of the executor's own; events order it after the caller's stream when a layer is opened, and
/// order the caller's stream after it when slots have been written. The host waits for every round, so that rows are
/// compared before anybody relies on them: no call of it is for capture in a graph.
///
/// What a failure leaves, the same on all survivors: a layer that writes no slot in its rounds is in `before` until all
/// ranks acknowledged all rows, then in `after`; in mode buffered that holds for all layers together. A layer with few
/// spare rows is what committed_placement() says. A rank that fails aborts both communicators.
///
/// Dead ranks of a schedule: the group may leave them out; its ranks are then the living ones, ascending.
///
/// Source: vLLM vllm/distributed/eplb/rebalance_execute.py; unlike it plans are proved, ranks compare them, and rows
/// carry checksums.
class RebalanceExecutor {
 public:
  /// @param plan outlives the executor. Binds to the current device. @throws Error{invalid_plan}
  explicit RebalanceExecutor(RebalancePlan const& plan, RebalanceOptions const& options = {});
  /// @param schedule outlives the executor. @throws Error{invalid_plan}; Error{invalid_argument} for mode buffered when
  ///        a layer writes slots in its rounds.
  explicit RebalanceExecutor(RebalanceSchedule const& schedule, RebalanceOptions const& options = {});
  ~RebalanceExecutor();
  RebalanceExecutor(RebalanceExecutor&&) noexcept;
  RebalanceExecutor& operator=(RebalanceExecutor&&) noexcept;

  /// Collective: moves all layers that are not committed yet; on return the rows are written.
  /// @param weights device memory, one row per slot of this rank. @param stream what uses the weights.
  /// @throws Error{shape_mismatch}, Error{desync} on every rank when plans, modes or row sizes differ,
  ///         Error{corrupt_data} naming layer, expert, tensor, ranks and row, Error{out_of_memory}, Error{cuda}, and
  ///         what the communicators throw.
  RebalanceResult execute(RebalanceLinks const& links, RegisteredWeights const& weights, StreamView stream);

  /// Layer by layer, while `before` is served. begin() (collective) reserves memory and issues the first round; poll()
  /// (collective) completes the round under way and issues the next one, which then runs beside the caller's kernels;
  /// commit() writes the slots after the work that `stream` has by then. Layers in any order, the same on all ranks,
  /// one at a time, each once. @param links, weights outlive the commit.
  /// @throws Error{invalid_argument} for a layer outside the plan, moved already or not buffered, and for calls out of
  ///         order; and as execute().
  void begin(RebalanceLinks const& links, RegisteredWeights const& weights, int layer, StreamView stream);
  /// @return whether this rank's device has finished the round under way: poll() would wait for peers only. Local.
  [[nodiscard]] bool ready() const;
  /// @return whether every rank holds every row, so that commit() may follow.
  bool poll();
  void commit(StreamView stream);

  /// Collective: exchanges messages of the plan's sizes and changes no weights, so that transports allocate what they
  /// need before serving starts. @throws as execute().
  RebalanceResult profile(RebalanceLinks const& links, RegisteredWeights const& weights, StreamView stream);

  /// Of everything that this executor has moved so far.
  [[nodiscard]] RebalanceResult const& result() const noexcept;
  /// The placement that the group's weights are in now; -1 for rows whose content is unknown.
  [[nodiscard]] ExpertPlacement committed_placement() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
