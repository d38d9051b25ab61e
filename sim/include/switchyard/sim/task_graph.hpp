// SPDX-License-Identifier: Apache-2.0
/// TaskGraph: work on the streams of ranks, exchanges between ranks, and what waits for what.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/sim/flow.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard::sim {

/// A queue of one rank that runs one task at a time, in the order in which they were added.
using StreamId = StrongId<struct StreamTag>;
using TaskId = StrongId<struct TaskTag>;
using LabelId = StrongId<struct LabelTag>;
using TrafficId = StrongId<struct TrafficTag>;
using ExchangeId = StrongId<struct ExchangeTag>;

enum class TaskKind : std::uint8_t { attention, shared_expert, experts, dispatch, combine, migration, commit };
inline constexpr int kNumTaskKinds = 7;
[[nodiscard]] std::string_view to_string(TaskKind kind) noexcept;

/// What a task is called, shared by the same task of all ranks.
struct TaskLabel {
  TaskKind kind{};
  std::string name;
};

struct Stream {
  RankId rank{};
  std::string name;
};

/// Flows that any number of exchanges send; senders ascending.
struct Traffic {
  std::vector<Flow> flows;
  std::vector<std::size_t> first_of_sender{};  ///< [ranks + 1] into flows
  std::vector<int> received{};                 ///< [ranks] flows that arrive
};

struct Task {
  StreamId stream{};
  LabelId label{};
  double work_us = 0;  ///< on the whole GPU; 0 for a part of an exchange
  ExchangeId exchange{-1};
  int poll = -1;    ///< number of the poll that it belongs to
  int change = -1;  ///< number of the change that work_us has
  /// Part of the time that grows as SMs are taken: 1 for arithmetic, less where memory or a launch is waited for.
  float sm_bound = 1;
  bool gated = false;  ///< waits for the commit of the background move before it, too
};

/// One task per rank; the part of rank r starts its sends when it starts and ends when all sends and all receives of r
/// have ended. Senders do not wait for receivers (one-sided writes).
struct Exchange {
  TrafficId traffic{};
  LabelId label{};
  double sm_share = 0;  ///< part of the GPU that it takes from work while it runs, [0, 1)
  TaskId first_task{};  ///< rank 0's part; the others follow
  int background = -1;  ///< number of the background move
  int change = -1;      ///< number of the change that the traffic has
};

/// What a rebalance does behind the work: moves, one after the other. A move is committed at the first poll that finds
/// it arrived on all ranks; then the next one begins.
struct BackgroundMove {
  ExchangeId exchange{};
  std::vector<double> commit_us{};  ///< [ranks] what the poll that commits it takes
};

/// What a task does instead once a background move has been committed. Only polls added before the task count: they
/// have decided on every rank before it starts, so that no two ranks go by different maps in one step.
struct Change {
  int move = -1;        ///< number of the background move
  int polls = 0;        ///< polls added before the task
  TrafficId traffic{};  ///< of an exchange
  double work_us = 0;   ///< of work
  float sm_bound = 1;   ///< of work, see Task
};

/// Tasks wait only for tasks added before them, so no graph can hang.
class TaskGraph {
 public:
  /// @throws Error{invalid_argument} for less than one rank.
  explicit TaskGraph(int ranks);

  StreamId add_stream(RankId rank, std::string name);
  /// @return one stream of that name per rank, ranks ascending.
  std::vector<StreamId> add_streams(std::string const& name);
  LabelId add_label(TaskKind kind, std::string name);
  /// @throws Error{invalid_argument} for a rank outside the graph.
  TrafficId add_traffic(std::span<Flow const> flows);

  /// Below: @param after tasks added before. @throws Error{invalid_argument} for ids that do not exist, times that are
  /// negative or not finite, an SM share outside [0, 1).
  /// @param sm_bound 0 to 1, see Task.
  TaskId add_work(StreamId stream, LabelId label, double work_us, std::span<TaskId const> after = {},
                  double sm_bound = 1);
  /// @param streams [ranks] of ranks ascending. @param after [ranks] lists, or none at all.
  /// @return the parts, ranks ascending.
  std::vector<TaskId> add_exchange(std::span<StreamId const> streams, LabelId label, TrafficId traffic, double sm_share,
                                   std::span<std::vector<TaskId> const> after = {});
  /// Adds the next background move; the first one begins at once.
  void add_background(std::span<StreamId const> streams, LabelId label, TrafficId traffic, double sm_share,
                      std::vector<double> commit_us);
  /// From now on: what the exchange that was added last sends, or work `task` takes, in steps that begin after move
  /// `move` of the background was committed. Every task on a rank must follow the polls before it there.
  void change_last_exchange(int move, TrafficId traffic);
  void change_work(TaskId task, int move, double work_us, double sm_bound);
  /// A look at the background on every rank; all ranks decide what the first one to look sees.
  std::vector<TaskId> add_poll(std::span<StreamId const> streams, LabelId label);

  [[nodiscard]] int num_ranks() const noexcept { return ranks_; }
  [[nodiscard]] int num_polls() const noexcept { return polls_; }
  [[nodiscard]] std::span<Stream const> streams() const noexcept { return streams_; }
  [[nodiscard]] std::span<Task const> tasks() const noexcept { return tasks_; }
  [[nodiscard]] std::span<TaskLabel const> labels() const noexcept { return labels_; }
  [[nodiscard]] std::span<Traffic const> traffic() const noexcept { return traffic_; }
  [[nodiscard]] std::span<Exchange const> exchanges() const noexcept { return exchanges_; }
  [[nodiscard]] std::span<BackgroundMove const> background() const noexcept { return background_; }
  [[nodiscard]] std::span<Change const> changes() const noexcept { return changes_; }
  /// @return the tasks that `task` waits for, its predecessor on the stream not among them.
  [[nodiscard]] std::span<TaskId const> after(TaskId task) const noexcept {
    return std::span(after_).subspan(first_after_[task.index()],
                                     first_after_[task.index() + 1] - first_after_[task.index()]);
  }
  [[nodiscard]] TaskLabel const& label_of(TaskId task) const noexcept {
    return labels_[tasks_[task.index()].label.index()];
  }
  [[nodiscard]] RankId rank_of(TaskId task) const noexcept {
    return streams_[tasks_[task.index()].stream.index()].rank;
  }

 private:
  TaskId add_task(Task const& task, std::span<TaskId const> after);
  void require_streams(std::span<StreamId const> streams) const;
  int add_change(Change const& change);

  int ranks_;
  int polls_ = 0;
  std::vector<Stream> streams_;
  std::vector<Task> tasks_;
  std::vector<TaskLabel> labels_;
  std::vector<Traffic> traffic_;
  std::vector<Exchange> exchanges_;
  std::vector<BackgroundMove> background_;
  std::vector<Change> changes_;
  std::vector<TaskId> after_;
  std::vector<std::size_t> first_after_{0};
};

}  // namespace switchyard::sim
