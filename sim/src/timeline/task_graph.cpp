// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/task_graph.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {
namespace {

void require_time(double us, std::string const& name) {
  SWITCHYARD_REQUIRE(std::isfinite(us) && us >= 0, invalid_argument,
                     "task \"{}\" takes {} us: give a time that is finite and not negative", name, us);
}

/// @return the part as tasks keep it.
float checked_sm_bound(double part) {
  SWITCHYARD_REQUIRE(part >= 0 && part <= 1, invalid_argument,
                     "{} of a task's time depends on SMs: give a part from 0 to 1", part);
  return static_cast<float>(part);
}

}  // namespace

std::string_view to_string(TaskKind kind) noexcept {
  constexpr std::array<std::string_view, kNumTaskKinds> names{"attention", "shared_expert", "experts", "dispatch",
                                                              "combine",   "migration",     "commit"};
  return names[static_cast<std::size_t>(kind)];
}

TaskGraph::TaskGraph(int ranks) : ranks_(ranks) {
  SWITCHYARD_REQUIRE(ranks >= 1, invalid_argument, "a timeline of {} ranks: give at least 1", ranks);
}

StreamId TaskGraph::add_stream(RankId rank, std::string name) {
  SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.value() < ranks_, invalid_argument,
                     "stream \"{}\" is of rank {}, the timeline has {} ranks", name, rank.value(), ranks_);
  streams_.push_back({rank, std::move(name)});
  return StreamId(static_cast<int>(streams_.size()) - 1);
}

std::vector<StreamId> TaskGraph::add_streams(std::string const& name) {
  std::vector<StreamId> streams;
  for (int rank = 0; rank < ranks_; ++rank) streams.push_back(add_stream(RankId(rank), name));
  return streams;
}

LabelId TaskGraph::add_label(TaskKind kind, std::string name) {
  labels_.push_back({kind, std::move(name)});
  return LabelId(static_cast<int>(labels_.size()) - 1);
}

TrafficId TaskGraph::add_traffic(std::span<Flow const> flows) {
  Traffic traffic{{flows.begin(), flows.end()}};
  traffic.first_of_sender.assign(to_size(ranks_) + 1, 0);
  traffic.received.assign(to_size(ranks_), 0);
  for (Flow const& flow : flows) {
    for (RankId const rank : {flow.from, flow.to})
      SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.value() < ranks_, invalid_argument,
                         "a flow from rank {} to rank {} leaves the timeline of {} ranks", flow.from.value(),
                         flow.to.value(), ranks_);
    ++traffic.first_of_sender[flow.from.index() + 1];
    ++traffic.received[flow.to.index()];
  }
  for (std::size_t rank = 0; rank < to_size(ranks_); ++rank)
    traffic.first_of_sender[rank + 1] += traffic.first_of_sender[rank];
  std::stable_sort(traffic.flows.begin(), traffic.flows.end(),
                   [](Flow const& a, Flow const& b) { return a.from < b.from; });
  traffic_.push_back(std::move(traffic));
  return TrafficId(static_cast<int>(traffic_.size()) - 1);
}

TaskId TaskGraph::add_task(Task const& task, std::span<TaskId const> after) {
  SWITCHYARD_REQUIRE(task.stream.index() < streams_.size() && task.label.index() < labels_.size(), invalid_argument,
                     "a task names stream {} of {} and label {} of {}", task.stream.value(), streams_.size(),
                     task.label.value(), labels_.size());
  for (TaskId const before : after)
    SWITCHYARD_REQUIRE(before.index() < tasks_.size(), invalid_argument,
                       "task {} waits for task {}, which was not added before it", tasks_.size(), before.value());
  after_.insert(after_.end(), after.begin(), after.end());
  first_after_.push_back(after_.size());
  tasks_.push_back(task);
  return TaskId(static_cast<int>(tasks_.size()) - 1);
}

void TaskGraph::require_streams(std::span<StreamId const> streams) const {
  SWITCHYARD_REQUIRE(streams.size() == to_size(ranks_), invalid_argument, "{} streams for {} ranks: give one per rank",
                     streams.size(), ranks_);
  for (std::size_t rank = 0; rank < streams.size(); ++rank)
    SWITCHYARD_REQUIRE(streams[rank].index() < streams_.size() && streams_[streams[rank].index()].rank.index() == rank,
                       invalid_argument, "stream {} of the list is not one of rank {}: give them rank ascending",
                       streams[rank].value(), rank);
}

TaskId TaskGraph::add_work(StreamId stream, LabelId label, double work_us, std::span<TaskId const> after,
                           double sm_bound) {
  Task task{stream, label, work_us};
  task.sm_bound = checked_sm_bound(sm_bound);
  TaskId const id = add_task(task, after);
  require_time(work_us, label_of(id).name);
  return id;
}

std::vector<TaskId> TaskGraph::add_exchange(std::span<StreamId const> streams, LabelId label, TrafficId traffic,
                                            double sm_share, std::span<std::vector<TaskId> const> after) {
  require_streams(streams);
  SWITCHYARD_REQUIRE(sm_share >= 0 && sm_share < 1, invalid_argument,
                     "an exchange that takes {} of the SMs: give at least 0 and less than 1", sm_share);
  SWITCHYARD_REQUIRE(traffic.index() < traffic_.size(), invalid_argument, "traffic {} of {} does not exist",
                     traffic.value(), traffic_.size());
  SWITCHYARD_REQUIRE(after.empty() || after.size() == to_size(ranks_), invalid_argument,
                     "{} lists of tasks to wait for on {} ranks: give one per rank or none", after.size(), ranks_);
  ExchangeId const id(static_cast<int>(exchanges_.size()));
  std::vector<TaskId> parts;
  for (std::size_t rank = 0; rank < streams.size(); ++rank) {
    Task task{streams[rank], label};
    task.exchange = id;
    parts.push_back(add_task(task, after.empty() ? std::span<TaskId const>() : after[rank]));
  }
  exchanges_.push_back({traffic, label, sm_share, parts.front()});
  return parts;
}

void TaskGraph::add_background(std::span<StreamId const> streams, LabelId label, TrafficId traffic, double sm_share,
                               std::vector<double> commit_us) {
  SWITCHYARD_REQUIRE(commit_us.size() == to_size(ranks_), invalid_argument,
                     "{} commit times for {} ranks: give one per rank", commit_us.size(), ranks_);
  auto const parts = add_exchange(streams, label, traffic, sm_share);
  for (double const us : commit_us) require_time(us, labels_[label.index()].name);
  for (TaskId const part : parts) tasks_[part.index()].gated = !background_.empty();
  exchanges_.back().background = static_cast<int>(background_.size());
  background_.push_back({ExchangeId(static_cast<int>(exchanges_.size()) - 1), std::move(commit_us)});
}

int TaskGraph::add_change(Change const& change) {
  SWITCHYARD_REQUIRE(change.move >= 0 && to_size(change.move) < background_.size(), invalid_argument,
                     "a task changes with move {} of {}: add the move before it", change.move, background_.size());
  changes_.push_back(change);
  return static_cast<int>(changes_.size()) - 1;
}

void TaskGraph::change_last_exchange(int move, TrafficId traffic) {
  SWITCHYARD_REQUIRE(!exchanges_.empty() && exchanges_.back().background < 0 && traffic.index() < traffic_.size(),
                     invalid_argument, "traffic {} of {} for the last of {} exchanges, which may be no move",
                     traffic.value(), traffic_.size(), exchanges_.size());
  exchanges_.back().change = add_change({move, polls_, traffic});
}

void TaskGraph::change_work(TaskId task, int move, double work_us, double sm_bound) {
  SWITCHYARD_REQUIRE(task.index() < tasks_.size() && !tasks_[task.index()].exchange.valid(), invalid_argument,
                     "task {} of {} is no work that could change", task.value(), tasks_.size());
  require_time(work_us, label_of(task).name);
  tasks_[task.index()].change = add_change({move, polls_, TrafficId(-1), work_us, checked_sm_bound(sm_bound)});
}

std::vector<TaskId> TaskGraph::add_poll(std::span<StreamId const> streams, LabelId label) {
  require_streams(streams);
  std::vector<TaskId> tasks;
  for (StreamId const stream : streams) {
    Task task{stream, label};
    task.poll = polls_;
    tasks.push_back(add_task(task, {}));
  }
  ++polls_;
  return tasks;
}

}  // namespace switchyard::sim
