// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/chrome_trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "switchyard/internal/to_size.hpp"
#include "switchyard/sim/timeline_summary.hpp"

namespace switchyard::sim {
namespace {

constexpr std::int64_t kNsPerUs = 1000;

std::string quoted(std::string const& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Rounded once, so that the end of one event and the start of the next stay equal.
std::int64_t ns_of(double us) {
  return std::llround(us * static_cast<double>(kNsPerUs));
}

std::string us_text(std::int64_t ns) {
  return fmt::format("{}.{:03}", ns / kNsPerUs, ns % kNsPerUs);
}

class Writer {
 public:
  Writer(TaskGraph const& graph, Timeline const& timeline, ClusterTopology const& topology, std::int64_t max_events)
      : graph_(graph),
        timeline_(timeline),
        topology_(topology),
        links_process_(graph.num_ranks()),
        ranks_(traced_ranks(graph, timeline, max_events)),
        is_shown_(to_size(graph.num_ranks()), false) {
    for (int const rank : ranks_) is_shown_[to_size(rank)] = true;
    std::map<int, int> streams_of_rank;
    for (Stream const& stream : graph.streams()) track_of_stream_.push_back(streams_of_rank[stream.rank.value()]++);
  }

  std::string write(std::string const& name) {
    out_ = "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"name\":" + quoted(name) +
           ",\"unit_of_ts_and_dur\":\"us\",\"ranks\":" + std::to_string(graph_.num_ranks()) +
           ",\"ranks_shown\":" + std::to_string(ranks_.size()) + "},\n\"traceEvents\":[";
    name_tracks();
    write_tasks();
    write_links();
    write_counters();
    write_path();
    return std::move(out_) + "\n]}\n";
  }

 private:
  void event(std::string const& members) {
    out_ += first_ ? "\n{" : ",\n{";
    out_ += members + "}";
    first_ = false;
  }

  void metadata(char const* what, int process, int track, std::string const& name) {
    event(fmt::format("\"ph\":\"M\",\"name\":\"{}\",\"pid\":{},\"tid\":{},\"args\":{{\"name\":{}}}", what, process,
                      track, quoted(name)));
  }

  void name_process(int process, std::string const& name) {
    metadata("process_name", process, 0, name);
    event(fmt::format(
        "\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":{0},\"tid\":0,\"args\":{{\"sort_index\":{0}}}", process));
  }

  void name_tracks() {
    for (int const rank : ranks_) name_process(rank, fmt::format("rank {}", rank));
    for (std::size_t i = 0; i < track_of_stream_.size(); ++i)
      if (is_shown_[graph_.streams()[i].rank.index()])
        metadata("thread_name", graph_.streams()[i].rank.value(), track_of_stream_[i], graph_.streams()[i].name);
    name_process(links_process_, "links");
    for (int c = 0; c < kNumLinkClasses; ++c)
      if (capacity_of(static_cast<LinkClass>(c)) > 0)
        metadata("thread_name", links_process_, c, std::string(to_string(static_cast<LinkClass>(c))));
  }

  void slice(std::string const& name, std::string_view category, int process, int track, std::int64_t start_ns,
             std::int64_t end_ns, std::string const& arguments) {
    event(fmt::format(
        "\"ph\":\"X\",\"name\":{},\"cat\":\"{}\",\"pid\":{},\"tid\":{},\"ts\":{},\"dur\":{},\"args\":{{{}}}",
        quoted(name), category, process, track, us_text(start_ns), us_text(end_ns - start_ns), arguments));
  }

  void write_tasks() {
    std::vector<TaskId> order;
    for (TaskId task(0); task.index() < timeline_.tasks.size(); ++task)
      if (timeline_.tasks[task.index()].ran() && shows(task)) order.push_back(task);
    std::stable_sort(order.begin(), order.end(), [&](TaskId a, TaskId b) {
      return timeline_.tasks[a.index()].start_us < timeline_.tasks[b.index()].start_us;
    });
    for (TaskId const task : order) write_task(task);
  }

  void write_task(TaskId task) {
    TaskTime const& time = timeline_.tasks[task.index()];
    auto const start_ns = ns_of(time.start_us), end_ns = ns_of(time.end_us);
    if (end_ns <= start_ns) return;
    TaskLabel const& label = graph_.label_of(task);
    slice(label.name, to_string(label.kind), graph_.rank_of(task).value(), track_of(task), start_ns, end_ns,
          fmt::format("\"task\":{}", task.value()));
  }

  [[nodiscard]] bool shows(TaskId task) const { return is_shown_[graph_.rank_of(task).index()]; }

  [[nodiscard]] int track_of(TaskId task) const {
    return track_of_stream_[graph_.tasks()[task.index()].stream.index()];
  }

  void write_links() {
    for (LinkInterval const& interval : link_intervals(timeline_)) {
      auto const start_ns = ns_of(interval.start_us), end_ns = ns_of(interval.end_us);
      if (end_ns <= start_ns) continue;
      std::string name;
      for (ExchangeId const exchange : interval.exchanges)
        name += (name.empty() ? "" : " + ") + graph_.labels()[graph_.exchanges()[exchange.index()].label.index()].name;
      slice(name, "link", links_process_, static_cast<int>(interval.link_class), start_ns, end_ns,
            fmt::format("\"exchanges\":{}", interval.exchanges.size()));
    }
  }

  /// Bytes per us of all links of a class together.
  [[nodiscard]] double capacity_of(LinkClass link_class) const {
    int const first = topology_.first_link(link_class).value();
    double sum = 0;
    for (int link = first; link < topology_.num_links() && topology_.class_of(LinkId(link)) == link_class; ++link)
      sum += topology_.bytes_per_us(LinkId(link));
    return sum;
  }

  void write_counters() {
    std::map<std::pair<ExchangeId, LinkClass>, double> rate;
    for (LinkSpan const& span : timeline_.links)
      rate[{span.exchange, span.link_class}] = static_cast<double>(span.bytes) / (span.end_us - span.start_us);
    LinkInterval const* before = nullptr;
    auto const intervals = link_intervals(timeline_);
    for (LinkInterval const& interval : intervals) {
      bool const gap =
          before != nullptr && (before->link_class != interval.link_class || before->end_us < interval.start_us);
      if (gap) counter(before->link_class, before->end_us, 0);
      double bytes_per_us = 0;
      for (ExchangeId const exchange : interval.exchanges) bytes_per_us += rate[{exchange, interval.link_class}];
      counter(interval.link_class, interval.start_us, bytes_per_us / capacity_of(interval.link_class));
      before = &interval;
    }
    if (before != nullptr) counter(before->link_class, before->end_us, 0);
  }

  void counter(LinkClass link_class, double us, double share) {
    event(
        fmt::format("\"ph\":\"C\",\"name\":\"{} in use\",\"pid\":{},\"tid\":{},\"ts\":{},\"args\":{{\"share\":{:.6f}}}",
                    to_string(link_class), links_process_, static_cast<int>(link_class), us_text(ns_of(us)), share));
  }

  void write_path() {
    auto const path = critical_path(graph_, timeline_);
    int arrow = 0;
    TaskId from(-1);
    for (PathPiece const& piece : path) {
      if (ns_of(piece.end_us) <= ns_of(piece.start_us) || !shows(piece.task)) continue;
      if (from.valid()) {
        auto const end_ns = std::min(ns_of(timeline_.tasks[from.index()].end_us), ns_of(piece.start_us));
        flow_end("s", arrow, from, end_ns - 1);
        flow_end("f", arrow++, piece.task, ns_of(piece.start_us));
      }
      from = piece.task;
    }
  }

  void flow_end(char const* phase, int arrow, TaskId task, std::int64_t ns) {
    event(
        fmt::format("\"ph\":\"{}\",\"name\":\"critical path\",\"cat\":\"path\",\"id\":{},\"pid\":{},\"tid\":{},"
                    "\"ts\":{}{}",
                    phase, arrow, graph_.rank_of(task).value(), track_of(task), us_text(ns),
                    phase[0] == 'f' ? ",\"bp\":\"e\"" : ""));
  }

  TaskGraph const& graph_;
  Timeline const& timeline_;
  ClusterTopology const& topology_;
  int links_process_;
  std::vector<int> ranks_;      // shown, ascending
  std::vector<bool> is_shown_;  // [ranks]
  std::vector<int> track_of_stream_;
  std::string out_;
  bool first_ = true;
};

}  // namespace

std::vector<int> traced_ranks(TaskGraph const& graph, Timeline const& timeline, std::int64_t max_events) {
  std::vector<std::int64_t> events(to_size(graph.num_ranks()), 0);
  std::vector<int> order;
  for (PathPiece const& piece : critical_path(graph, timeline)) order.push_back(graph.rank_of(piece.task).value());
  for (int rank = 0; rank < graph.num_ranks(); ++rank) order.push_back(rank);
  for (TaskId task(0); task.index() < timeline.tasks.size(); ++task) {
    TaskTime const& time = timeline.tasks[task.index()];
    if (time.ran() && ns_of(time.end_us) > ns_of(time.start_us)) ++events[graph.rank_of(task).index()];
  }
  std::set<int> shown;
  std::int64_t left = max_events;
  for (int const rank : order) {
    if (shown.count(rank) != 0) continue;
    left -= events[to_size(rank)];
    if (left < 0 && !shown.empty()) break;
    shown.insert(rank);
  }
  return {shown.begin(), shown.end()};
}

std::string to_chrome_trace(TaskGraph const& graph, Timeline const& timeline, ClusterTopology const& topology,
                            std::string const& name, std::int64_t max_events) {
  return Writer(graph, timeline, topology, max_events).write(name);
}

}  // namespace switchyard::sim
