// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/timeline.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "timeline/network_session.hpp"
#include "timeline/rank_compute.hpp"

namespace switchyard::sim {
namespace {

constexpr int kUndecided = -2;
constexpr int kNothingArrived = -1;

/// Who waits for whom, turned round: after a task comes a list of tasks.
struct Successors {
  std::vector<std::size_t> first{};
  std::vector<TaskId> tasks{};

  explicit Successors(TaskGraph const& graph) : first(graph.tasks().size() + 1, 0) {
    auto const count = static_cast<int>(graph.tasks().size());
    for (TaskId task(0); task.value() < count; ++task)
      for (TaskId const before : graph.after(task)) ++first[before.index() + 1];
    for (std::size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
    tasks.resize(first.back());
    std::vector<std::size_t> next(first.begin(), first.end() - 1);
    for (TaskId task(0); task.value() < count; ++task)
      for (TaskId const before : graph.after(task)) tasks[next[before.index()]++] = task;
  }
  [[nodiscard]] std::span<TaskId const> of(TaskId task) const {
    return std::span(tasks).subspan(first[task.index()], first[task.index() + 1] - first[task.index()]);
  }
};

/// The tasks of a stream, and how far it is.
struct StreamState {
  std::vector<TaskId> tasks{};
  std::size_t next = 0;
  bool busy = false;
};

/// One run of a graph: what is ready starts, then time moves to the next end.
class Run {
 public:
  Run(TaskGraph const& graph, ClusterTopology const& topology, NetworkModel const& model)
      : graph_(graph),
        successors_(graph),
        traffic_(graph),
        session_(make_session(traffic_, topology, model)),
        compute_(graph.num_ranks()),
        streams_(graph.streams().size()),
        waits_(graph.tasks().size()),
        decisions_(to_size(graph.num_polls()), kUndecided),
        parts_missing_(graph.background().size(), graph.num_ranks()) {
    result_.tasks.resize(graph.tasks().size());
    result_.cause.assign(graph.tasks().size(), TaskId(-1));
    result_.sender.assign(graph.tasks().size(), TaskId(-1));
    for (TaskId task(0); task.index() < waits_.size(); ++task) {
      Task const& one = graph.tasks()[task.index()];
      waits_[task.index()] = static_cast<int>(graph.after(task).size()) + (one.gated ? 1 : 0);
      streams_[one.stream.index()].tasks.push_back(task);
      to_look_at_.insert(one.stream);
    }
  }

  Timeline go() {
    while (true) {
      start_what_is_ready();
      double const next_us = std::min(compute_.next_us(), session_->next_us());
      if (!std::isfinite(next_us)) break;
      now_us_ = std::max(now_us_, next_us);
      for (TaskId const task : compute_.finish_until(now_us_)) end_work(task);
      for (FinishedPart const& part : session_->finish_until(now_us_)) end_part(part);
    }
    for (TaskTime const& time : result_.tasks) result_.makespan_us = std::max(result_.makespan_us, time.end_us);
    result_.links = session_->link_spans();
    std::sort(result_.links.begin(), result_.links.end(), [](LinkSpan const& a, LinkSpan const& b) {
      if (a.link_class != b.link_class) return a.link_class < b.link_class;
      return a.start_us != b.start_us ? a.start_us < b.start_us : a.exchange < b.exchange;
    });
    result_.merge_error_us = session_->merge_error_us();
    return std::move(result_);
  }

 private:
  /// In order of stream numbers, so that what starts together starts in one order.
  void start_what_is_ready() {
    while (!to_look_at_.empty()) {
      StreamState& stream = streams_[to_look_at_.begin()->index()];
      to_look_at_.erase(to_look_at_.begin());
      if (stream.busy || stream.next == stream.tasks.size() || waits_[stream.tasks[stream.next].index()] > 0) continue;
      stream.busy = true;
      start(stream.tasks[stream.next++]);
    }
  }

  void start(TaskId task) {
    Task const& one = graph_.tasks()[task.index()];
    RankId const rank = graph_.rank_of(task);
    result_.tasks[task.index()].start_us = now_us_;
    if (one.exchange.valid()) {
      if (int const change = graph_.exchanges()[one.exchange.index()].change; has_come(change))
        traffic_.choose(one.exchange, graph_.changes()[to_size(change)].traffic);
      compute_.take_share(rank, graph_.exchanges()[one.exchange.index()].sm_share, now_us_);
      session_->start(one.exchange, rank, now_us_);
    } else {
      start_work(task, rank);
    }
  }

  void start_work(TaskId task, RankId rank) {
    Task const& one = graph_.tasks()[task.index()];
    if (has_come(one.change)) {
      Change const& change = graph_.changes()[to_size(one.change)];
      compute_.start(task, rank, change.work_us, change.sm_bound, now_us_);
    } else {
      compute_.start(task, rank, one.poll >= 0 ? commit_us(one.poll, rank) : one.work_us, one.sm_bound, now_us_);
    }
  }

  /// Polls before the task have decided: a rank starts it after its own, and the first rank's counts.
  [[nodiscard]] bool has_come(int change) const {
    if (change < 0) return false;
    Change const& one = graph_.changes()[to_size(change)];
    return to_size(one.move) < result_.committed_at.size() && result_.committed_at[to_size(one.move)] < one.polls;
  }

  /// What a poll takes; the first rank that looks decides for all.
  double commit_us(int poll, RankId rank) {
    int& decision = decisions_[to_size(poll)];
    if (decision == kUndecided) {
      auto const move = to_size(result_.moves_committed);
      bool const arrived = move < parts_missing_.size() && parts_missing_[move] == 0;
      decision = arrived ? result_.moves_committed++ : kNothingArrived;
      if (arrived) result_.committed_at.push_back(poll);
    }
    return decision >= 0 ? graph_.background()[to_size(decision)].commit_us[rank.index()] : 0;
  }

  void end_part(FinishedPart const& part) {
    Exchange const& exchange = graph_.exchanges()[part.exchange.index()];
    TaskId const task(exchange.first_task.value() + part.rank.value());
    result_.sender[task.index()] = TaskId(exchange.first_task.value() + part.waited_for.value());
    compute_.take_share(part.rank, -exchange.sm_share, now_us_);
    if (exchange.background >= 0) --parts_missing_[to_size(exchange.background)];
    end(task);
  }

  void end_work(TaskId task) {
    int const poll = graph_.tasks()[task.index()].poll;
    if (poll >= 0 && decisions_[to_size(poll)] >= 0) open_gate(decisions_[to_size(poll)] + 1, task);
    end(task);
  }

  /// The next background move may begin on the rank that has committed the one before.
  void open_gate(int move, TaskId poll) {
    if (to_size(move) >= graph_.background().size()) return;
    Exchange const& exchange = graph_.exchanges()[graph_.background()[to_size(move)].exchange.index()];
    release(TaskId(exchange.first_task.value() + graph_.rank_of(poll).value()), poll);
  }

  void end(TaskId task) {
    result_.tasks[task.index()].end_us = now_us_;
    StreamId const id = graph_.tasks()[task.index()].stream;
    StreamState& stream = streams_[id.index()];
    stream.busy = false;
    to_look_at_.insert(id);
    if (stream.next < stream.tasks.size()) result_.cause[stream.tasks[stream.next].index()] = task;
    for (TaskId const next : successors_.of(task)) release(next, task);
  }

  void release(TaskId task, TaskId by) {
    --waits_[task.index()];
    StreamId const id = graph_.tasks()[task.index()].stream;
    result_.cause[task.index()] = by;
    to_look_at_.insert(id);
  }

  TaskGraph const& graph_;
  Successors successors_;
  ExchangeTraffic traffic_;
  std::unique_ptr<NetworkSession> session_;
  RankCompute compute_;
  std::vector<StreamState> streams_;
  std::vector<int> waits_;          // [tasks] for so many ends
  std::vector<int> decisions_;      // [polls] the move that it commits
  std::vector<int> parts_missing_;  // [background moves] ranks where it has not arrived
  std::set<StreamId> to_look_at_;
  double now_us_ = 0;
  Timeline result_{};
};

}  // namespace

Timeline run_timeline(TaskGraph const& graph, ClusterTopology const& topology, NetworkModel const& model) {
  SWITCHYARD_REQUIRE(graph.num_ranks() <= topology.num_ranks(), invalid_argument,
                     "a timeline of {} ranks for the cluster \"{}\" of {}: take a larger cluster", graph.num_ranks(),
                     topology.spec().name, topology.num_ranks());
  return Run(graph, topology, model).go();
}

}  // namespace switchyard::sim
