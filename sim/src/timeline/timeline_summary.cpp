// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/timeline_summary.hpp"

#include <algorithm>
#include <set>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {
namespace {

struct Interval {
  double start_us;
  double end_us;
};

/// Sorted, merged where they touch.
std::vector<Interval> merged(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end(), [](Interval const& a, Interval const& b) {
    return a.start_us != b.start_us ? a.start_us < b.start_us : a.end_us < b.end_us;
  });
  std::vector<Interval> result;
  for (Interval const& one : intervals) {
    if (!result.empty() && one.start_us <= result.back().end_us) {
      result.back().end_us = std::max(result.back().end_us, one.end_us);
    } else {
      result.push_back(one);
    }
  }
  return result;
}

double length_of(std::vector<Interval> const& intervals) {
  double sum = 0;
  for (Interval const& one : intervals) sum += one.end_us - one.start_us;
  return sum;
}

/// Of `a`, both merged, what no interval of `b` covers.
double uncovered(std::vector<Interval> const& a, std::vector<Interval> const& b) {
  std::vector<Interval> both = a;
  both.insert(both.end(), b.begin(), b.end());
  return length_of(merged(std::move(both))) - length_of(b);
}

std::size_t kind_of(TaskGraph const& graph, TaskId task) {
  return static_cast<std::size_t>(graph.label_of(task).kind);
}

std::vector<double> exposed_us(TaskGraph const& graph, Timeline const& timeline) {
  std::vector<std::vector<Interval>> work(to_size(graph.num_ranks())), exchanges(work.size());
  for (TaskId task(0); task.index() < timeline.tasks.size(); ++task) {
    TaskTime const& time = timeline.tasks[task.index()];
    if (!time.ran() || time.end_us == time.start_us) continue;
    bool const exchange = graph.tasks()[task.index()].exchange.valid();
    (exchange ? exchanges : work)[graph.rank_of(task).index()].push_back({time.start_us, time.end_us});
  }
  std::vector<double> exposed;
  for (std::size_t rank = 0; rank < work.size(); ++rank)
    exposed.push_back(uncovered(merged(std::move(exchanges[rank])), merged(std::move(work[rank]))));
  return exposed;
}

void require_of_each_other(TaskGraph const& graph, Timeline const& timeline) {
  SWITCHYARD_REQUIRE(graph.tasks().size() == timeline.tasks.size(), shape_mismatch,
                     "a timeline of {} tasks and a graph of {}: they are not of each other", timeline.tasks.size(),
                     graph.tasks().size());
}

std::vector<double> step_ends(TaskGraph const& graph, Timeline const& timeline) {
  std::vector<double> ends(to_size(graph.num_polls()), 0.0);
  double last_us = 0;
  for (TaskId task(0); task.index() < timeline.tasks.size(); ++task) {
    Task const& one = graph.tasks()[task.index()];
    bool const background = one.exchange.valid() && graph.exchanges()[one.exchange.index()].background >= 0;
    if (!background) last_us = std::max(last_us, timeline.tasks[task.index()].end_us);
    if (one.poll >= 0) ends[to_size(one.poll)] = last_us;
  }
  return ends;
}

std::vector<LinkClassTime> link_times(Timeline const& timeline) {
  std::vector<LinkClassTime> times;
  for (std::size_t i = 0; i < timeline.links.size();) {
    LinkClassTime time{timeline.links[i].link_class};
    std::vector<Interval> busy;
    for (; i < timeline.links.size() && timeline.links[i].link_class == time.link_class; ++i) {
      busy.push_back({timeline.links[i].start_us, timeline.links[i].end_us});
      time.bytes += timeline.links[i].bytes;
    }
    time.busy_us = length_of(merged(std::move(busy)));
    times.push_back(time);
  }
  return times;
}

/// Cuts the spans of one class where one begins or ends.
void append_intervals(std::span<LinkSpan const> spans, std::vector<LinkInterval>& intervals) {
  struct Change {
    double us;
    bool begins;
    ExchangeId exchange;
  };
  std::vector<Change> changes;
  for (LinkSpan const& span : spans) {
    changes.push_back({span.start_us, true, span.exchange});
    changes.push_back({span.end_us, false, span.exchange});
  }
  std::sort(changes.begin(), changes.end(), [](Change const& a, Change const& b) {
    if (a.us != b.us) return a.us < b.us;
    return a.begins != b.begins ? a.begins < b.begins : a.exchange < b.exchange;
  });
  std::set<ExchangeId> active;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (changes[i].begins) {
      active.insert(changes[i].exchange);
    } else {
      active.erase(changes[i].exchange);
    }
    if (active.empty() || i + 1 == changes.size() || changes[i + 1].us == changes[i].us) continue;
    intervals.push_back({spans.front().link_class, changes[i].us, changes[i + 1].us, {active.begin(), active.end()}});
  }
}

}  // namespace

double total_us(StreamUse const& use) noexcept {
  double sum = 0;
  for (double const us : use.busy_us) sum += us;
  return sum;
}

std::vector<LinkInterval> link_intervals(Timeline const& timeline) {
  std::vector<LinkInterval> intervals;
  auto const& links = timeline.links;
  for (std::size_t first = 0, end = 0; first < links.size(); first = end) {
    while (end < links.size() && links[end].link_class == links[first].link_class) ++end;
    append_intervals(std::span(links).subspan(first, end - first), intervals);
  }
  return intervals;
}

std::vector<PathPiece> critical_path(TaskGraph const& graph, Timeline const& timeline) {
  require_of_each_other(graph, timeline);
  TaskId last(-1);
  for (TaskId task(0); task.index() < timeline.tasks.size(); ++task)
    if (timeline.tasks[task.index()].ran() &&
        (!last.valid() || timeline.tasks[task.index()].end_us > timeline.tasks[last.index()].end_us))
      last = task;
  std::vector<PathPiece> path;
  while (last.valid()) {
    double const end_us = timeline.tasks[last.index()].end_us;
    if (graph.tasks()[last.index()].exchange.valid()) last = timeline.sender[last.index()];
    path.push_back({last, timeline.tasks[last.index()].start_us, end_us});
    last = timeline.cause[last.index()];
  }
  std::reverse(path.begin(), path.end());
  return path;
}

TimelineSummary summarize(TaskGraph const& graph, Timeline const& timeline) {
  require_of_each_other(graph, timeline);
  TimelineSummary summary;
  summary.makespan_us = timeline.makespan_us;
  summary.moves_committed = timeline.moves_committed;
  summary.merge_error_us = timeline.merge_error_us;
  summary.streams.resize(graph.streams().size());
  for (std::size_t i = 0; i < summary.streams.size(); ++i) summary.streams[i].stream = StreamId(static_cast<int>(i));
  for (TaskId task(0); task.index() < timeline.tasks.size(); ++task) {
    TaskTime const& time = timeline.tasks[task.index()];
    if (!time.ran()) continue;
    auto& use = summary.streams[graph.tasks()[task.index()].stream.index()];
    use.busy_us[kind_of(graph, task)] += time.end_us - time.start_us;
  }
  summary.links = link_times(timeline);
  summary.step_end_us = step_ends(graph, timeline);
  summary.critical_path = critical_path(graph, timeline);
  for (PathPiece const& piece : summary.critical_path)
    summary.path_us[kind_of(graph, piece.task)] += piece.end_us - piece.start_us;
  summary.exposed_us = exposed_us(graph, timeline);
  return summary;
}

}  // namespace switchyard::sim
