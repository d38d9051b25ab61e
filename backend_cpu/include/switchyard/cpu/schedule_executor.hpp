// SPDX-License-Identifier: Apache-2.0
/// ScheduleExecutor: moves one rank's expert rows as a RebalanceSchedule says, at once or layer by layer while serving.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cpu/rebalance_executor.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"
#include "switchyard/rebalance/registered_weights.hpp"

namespace switchyard::cpu {

/// A complete row that an interrupted layer left in a spare row.
struct SpareCopy {
  int layer = 0;
  LocalExpertId row{};  ///< counted from the rank's first slot; slots come first
  ExpertId expert{};
  friend bool operator==(SpareCopy const&, SpareCopy const&) = default;
};

/// Executes a schedule on one rank. Every round is one exchange of the whole group. Rows that arrive are compared with
/// their checksum before anybody relies on them, and slots are compared again after they were written (options
/// verify_rows, on by default).
///
/// What a failure leaves (the same on all survivors, because collectives complete on every rank or on none):
/// - a layer that is_buffered(): `before` until all ranks hold all its rows, then `after`;
/// - RebalanceMode::buffered: that holds for all layers together;
/// - a layer with few spare rows: the contents after the last round that all ranks acknowledged, without the rows that
///   the next round was receiving into. No expert that is needed is lost but with the rank that held it; some may be in
///   spare rows, which stay readable as long as the executor lives.
/// Plan the next move from committed_placement(), with the lost ranks as dead ranks.
///
/// Dead ranks: the group may leave them out; its ranks are then the living ones, ascending.
///
/// A slot to be reloaded is never written: load schedule.reloads from the checkpoint before serving it.
class ScheduleExecutor {
 public:
  /// @param schedule must outlive the executor. @throws Error{invalid_plan} when validate() finds a violation;
  ///        Error{invalid_argument} for RebalanceMode::buffered when a layer is not buffered.
  explicit ScheduleExecutor(RebalanceSchedule const& schedule, RebalanceOptions const& options = {});
  ~ScheduleExecutor();
  ScheduleExecutor(ScheduleExecutor&&) noexcept;
  ScheduleExecutor& operator=(ScheduleExecutor&&) noexcept;

  /// Collective: moves all layers. In place, the layers are committed one by one, and nobody may read a layer that is
  /// not buffered while it moves.
  /// @throws as RebalanceExecutor::execute().
  RebalanceResult execute(Communicator& comm, RegisteredWeights const& weights);

  /// Layer by layer. begin() reserves the memory and agrees on the layer (collective); poll() runs one round
  /// (collective); commit() writes the slots (no communication). Until commit() the layer can be served from `before`.
  /// Layers in any order, the same on all ranks, one at a time, each once.
  /// @param comm, weights must outlive the commit. @throws Error{invalid_argument} for a layer outside the schedule,
  ///        already moved or not buffered, or for calls out of order; and as execute().
  void begin(Communicator& comm, RegisteredWeights const& weights, int layer);
  /// @return whether every rank holds every row, so that commit() may follow.
  bool poll();
  void commit();

  /// Collective: exchanges messages of the schedule's sizes, round by round, and changes no weights; so that
  /// transports allocate what they need before serving starts. May run before anything is moved, any number of times.
  /// Source: vLLM rebalance_execute.py `is_profile`, which gathers one layer's weights whatever the plan needs.
  RebalanceResult profile(Communicator& comm, RegisteredWeights const& weights);

  /// Of everything that this executor has moved so far.
  [[nodiscard]] RebalanceResult const& result() const noexcept;
  /// The placement that the group's weights are in now, in the group's slot space; -1 for rows whose content is
  /// unknown.
  [[nodiscard]] ExpertPlacement committed_placement() const;
  /// This rank's complete rows in spare memory, when a layer with few spare rows was interrupted.
  [[nodiscard]] std::vector<SpareCopy> spare_copies() const;
  /// The bytes of one of them. @throws Error{invalid_argument} for a row that spare_copies() does not list.
  [[nodiscard]] std::span<std::byte const> spare_row(SpareCopy const& copy, int tensor) const;

 private:
  friend struct ScheduleExecutorAccess;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cpu
