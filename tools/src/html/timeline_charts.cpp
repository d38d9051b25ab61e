// SPDX-License-Identifier: Apache-2.0
#include "html/timeline_charts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "html/svg.hpp"

namespace switchyard::cli::html {
namespace {

constexpr double kLeft = 170;
constexpr double kWidth = 1120;
constexpr double kRow = 16;
constexpr double kTop = 22;
constexpr double kLeastPixels = 0.4;
constexpr std::size_t kMaxRanks = 24;
constexpr int kTicks = 8;

std::string time_text(double us) {
  return us >= 10'000 ? fmt::format("{:.4g} ms", us / 1000) : fmt::format("{:.4g} us", us);
}

/// Pixels of a moment.
class Axis {
 public:
  explicit Axis(double end_us) : end_us_(end_us > 0 ? end_us : 1) {}
  [[nodiscard]] double x(double us) const { return kLeft + kWidth * us / end_us_; }

  void draw(Svg& svg, double height) const {
    for (int tick = 0; tick <= kTicks; ++tick) {
      double const us = end_us_ * tick / kTicks;
      svg.line(x(us), kTop - 4, x(us), height, "axis");
      svg.text(x(us), kTop - 8, time_text(us), tick == kTicks ? "end" : "middle");
    }
  }

 private:
  double end_us_;
};

std::set<int> shown_ranks(TimelineRun const& run) {
  std::set<int> ranks;
  if (static_cast<std::size_t>(run.spec.ranks) > kMaxRanks)
    for (auto const& piece : run.summary.critical_path)
      if (ranks.size() < kMaxRanks / 2) ranks.insert(run.graph.rank_of(piece.task).value());
  for (int rank = 0; rank < run.spec.ranks && ranks.size() < kMaxRanks; ++rank) ranks.insert(rank);
  return ranks;
}

/// [shown streams] -> row, ranks ascending.
std::map<sim::StreamId, std::size_t> rows_of(TimelineRun const& run) {
  std::vector<sim::StreamId> order;
  auto const ranks = shown_ranks(run);
  auto const streams = run.graph.streams();
  for (sim::StreamId stream(0); stream.index() < streams.size(); ++stream)
    if (ranks.count(streams[stream.index()].rank.value()) != 0) order.push_back(stream);
  std::stable_sort(order.begin(), order.end(),
                   [&](sim::StreamId a, sim::StreamId b) { return streams[a.index()].rank < streams[b.index()].rank; });
  std::map<sim::StreamId, std::size_t> rows;
  for (std::size_t row = 0; row < order.size(); ++row) rows[order[row]] = row;
  return rows;
}

double row_y(std::size_t row) {
  return kTop + kRow * static_cast<double>(row);
}

}  // namespace

std::string kind_colour(sim::TaskKind kind) {
  constexpr std::array<char const*, sim::kNumTaskKinds> colours{"#8d99ae", "#b08968", "#2a6f97", "#e07a1f",
                                                                "#f2b134", "#7b4fa3", "#c41e2d"};
  return colours[static_cast<std::size_t>(kind)];
}

std::string stream_chart(TimelineRun const& run) {
  auto const rows = rows_of(run);
  double const height = row_y(rows.size()) + 6;
  Axis const axis(run.summary.makespan_us);
  Svg svg(kLeft + kWidth + 20, height, "streams of the ranks over time");
  axis.draw(svg, height);
  for (auto const& [stream, row] : rows) {
    auto const& info = run.graph.streams()[stream.index()];
    svg.text(kLeft - 8, row_y(row) + kRow - 4, fmt::format("rank {} {}", info.rank.value(), info.name), "end");
  }
  std::map<sim::StreamId, double> drawn_to;  // pixels
  for (sim::TaskId task(0); task.index() < run.timeline.tasks.size(); ++task) {
    auto const& time = run.timeline.tasks[task.index()];
    auto const found = rows.find(run.graph.tasks()[task.index()].stream);
    if (found == rows.end() || !time.ran() || time.end_us <= time.start_us) continue;
    double const x = axis.x(time.start_us), end = std::max(axis.x(time.end_us), x + kLeastPixels);
    double& to = drawn_to[found->first];
    if (end < to + kLeastPixels) continue;
    to = end;
    auto const& label = run.graph.label_of(task);
    svg.rect(x, row_y(found->second) + 1, end - x, kRow - 2, kind_colour(label.kind),
             fmt::format("{}: {:.2f} - {:.2f} us", label.name, time.start_us, time.end_us));
  }
  return svg.str();
}

std::string link_chart(TimelineRun const& run) {
  auto const intervals = sim::link_intervals(run.timeline);
  std::map<sim::LinkClass, std::size_t> rows;
  for (auto const& use : run.summary.links) rows.emplace(use.link_class, rows.size());
  double const height = row_y(rows.size()) + 6;
  Axis const axis(run.summary.makespan_us);
  Svg svg(kLeft + kWidth + 20, height, "link classes over time");
  axis.draw(svg, height);
  for (auto const& [link_class, row] : rows) svg.text(kLeft - 8, row_y(row) + kRow - 4, to_string(link_class), "end");
  std::map<sim::LinkClass, double> drawn_to;
  for (auto const& interval : intervals) {
    double const x = axis.x(interval.start_us), end = std::max(axis.x(interval.end_us), x + kLeastPixels);
    double& to = drawn_to[interval.link_class];
    if (end < to + kLeastPixels) continue;
    to = end;
    std::string name;
    for (auto const exchange : interval.exchanges)
      name +=
          (name.empty() ? "" : " + ") + run.graph.labels()[run.graph.exchanges()[exchange.index()].label.index()].name;
    svg.rect(x, row_y(rows.at(interval.link_class)) + 1, end - x, kRow - 2,
             share_colour(interval.exchanges.size() > 1 ? 1 : 0.55),
             fmt::format("{}: {:.2f} - {:.2f} us", name, interval.start_us, interval.end_us));
  }
  return svg.str();
}

std::string variation_chart(std::vector<Variation> const& variations, double us) {
  std::vector<Variation const*> shown;
  double reach = 0;
  for (auto const& one : variations) {
    if (!matters(one, 0, us)) continue;
    shown.push_back(&one);
    reach = std::max({reach, std::abs(one.lower_us.front() - us), std::abs(one.higher_us.front() - us)});
  }
  if (shown.empty()) return "<p>No constant changes the time by more than 0.5 %.</p>\n";
  auto const span = [](Variation const* one) { return std::abs(one->lower_us.front() - one->higher_us.front()); };
  std::stable_sort(shown.begin(), shown.end(), [&](auto const* a, auto const* b) { return span(a) > span(b); });
  constexpr double kNames = 260, kHalf = 260;
  Svg svg(kNames + 2 * kHalf + 220, kTop + 20 * static_cast<double>(shown.size()) + 6, "what the time hangs on");
  auto const x = [&](double value) { return kNames + kHalf + kHalf * (value - us) / reach; };
  double y = kTop;
  for (Variation const* one : shown) {
    double const lower = one->lower_us.front(), higher = one->higher_us.front();
    svg.text(kNames - 8, y + 12, one->constant, "end");
    for (auto const& [value, colour, text] :
         {std::tuple{lower, "#3168b2", "-20 %"}, std::tuple{higher, "#e07a1f", "+20 %"}})
      svg.rect(std::min(x(us), x(value)), y + 2, std::abs(x(value) - x(us)), 14, colour,
               fmt::format("{}: {:.2f} us", text, value));
    svg.text(kNames + 2 * kHalf + 12, y + 12,
             fmt::format("-20 %: {:+.1f} %, +20 %: {:+.1f} %", 100 * (lower / us - 1), 100 * (higher / us - 1)));
    y += 20;
  }
  svg.line(x(us), kTop - 6, x(us), y, "axis");
  svg.text(x(us), kTop - 8, time_text(us), "middle");
  return svg.str();
}

}  // namespace switchyard::cli::html
