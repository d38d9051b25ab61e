// SPDX-License-Identifier: Apache-2.0
#include "html/charts.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "html/svg.hpp"

namespace switchyard::cli::html {
namespace {

constexpr double kLeft = 64;
constexpr double kTop = 26;
constexpr double kPlotWidth = 560;
constexpr std::size_t kMaxColumns = 256;
constexpr std::size_t kMaxMatrix = 128;
constexpr std::size_t kTooltipsUpTo = 8192;

/// How many items share one drawn cell.
std::size_t group_of(std::size_t items, std::size_t most) {
  return (items + most - 1) / most;
}

/// Labels at round steps, at most about `most` of them.
std::size_t label_step(std::size_t items, std::size_t most) {
  std::size_t step = 1;
  while (items / step > most) step = step == 1 ? 2 : step * 2;
  return step;
}

std::string gpus(std::size_t first, std::size_t group) {
  return group == 1 ? fmt::format("GPU {}", first) : fmt::format("GPUs {} to {}", first, first + group - 1);
}

void label_columns(Svg& svg, std::size_t columns, std::size_t group, double cell) {
  std::size_t const step = label_step(columns, 16);
  for (std::size_t column = 0; column < columns; column += step)
    svg.text(kLeft + (static_cast<double>(column) + 0.5) * cell, kTop - 6, fmt::format("{}", column * group), "middle");
}

void label_row(Svg& svg, std::size_t row, std::size_t step, double cell, std::size_t shown) {
  if (row % step == 0)
    svg.text(kLeft - 6, kTop + (static_cast<double>(row) + 0.5) * cell + 4, fmt::format("{}", shown), "end");
}

/// The hottest of a group of ranks.
double hottest(std::vector<double> const& row, std::size_t first, std::size_t group) {
  std::size_t const last = std::min(first + group, row.size());
  return *std::max_element(row.begin() + static_cast<std::ptrdiff_t>(first),
                           row.begin() + static_cast<std::ptrdiff_t>(last));
}

}  // namespace

std::string load_heatmap(std::vector<std::vector<double>> const& ratios, std::string_view title) {
  std::size_t const ranks = ratios.front().size();
  std::size_t const group = group_of(ranks, kMaxColumns);
  std::size_t const columns = (ranks + group - 1) / group;
  double const width = kPlotWidth / static_cast<double>(columns);
  double const height = std::clamp(480.0 / static_cast<double>(ratios.size()), 3.0, 18.0);
  Svg svg(kLeft + kPlotWidth + 8, kTop + height * static_cast<double>(ratios.size()) + 22, title);
  label_columns(svg, columns, group, width);
  std::size_t const step = label_step(ratios.size(), 30);
  bool const tooltips = columns * ratios.size() <= kTooltipsUpTo;
  for (std::size_t layer = 0; layer < ratios.size(); ++layer) {
    label_row(svg, layer, step, height, layer);
    for (std::size_t column = 0; column < columns; ++column) {
      double const ratio = hottest(ratios[layer], column * group, group);
      std::string const tip =
          tooltips ? fmt::format("layer {}, {}: {:.3f} of the mean", layer, gpus(column * group, group), ratio)
                   : std::string();
      svg.rect(kLeft + static_cast<double>(column) * width, kTop + static_cast<double>(layer) * height, width, height,
               load_colour(ratio), tip);
    }
  }
  svg.text(
      kLeft, kTop + height * static_cast<double>(ratios.size()) + 16,
      group == 1 ? "rows: layers, columns: GPUs" : fmt::format("rows: layers, columns: hottest of {} GPUs", group));
  return svg.str();
}

std::string transfer_matrix(TransferMatrix const& matrix) {
  auto const ranks = static_cast<std::size_t>(matrix.num_ranks());
  std::size_t const group = group_of(ranks, kMaxMatrix);
  std::size_t const cells = (ranks + group - 1) / group;
  std::vector<std::int64_t> sums(cells * cells);
  for (auto const& link : matrix.links())
    sums[static_cast<std::size_t>(link.from) / group * cells + static_cast<std::size_t>(link.to) / group] +=
        link.experts;
  std::int64_t const most = std::max<std::int64_t>(1, *std::max_element(sums.begin(), sums.end()));
  double const cell = std::min(16.0, 480.0 / static_cast<double>(cells));
  double const size = cell * static_cast<double>(cells);
  Svg svg(kLeft + size + 8, kTop + size + 22, "experts sent from GPU to GPU");
  label_columns(svg, cells, group, cell);
  std::size_t const step = label_step(cells, 20);
  for (std::size_t from = 0; from < cells; ++from) {
    label_row(svg, from, step, cell, from * group);
    for (std::size_t to = 0; to < cells; ++to) {
      std::int64_t const experts = sums[from * cells + to];
      std::string const tip =
          experts == 0 || cells * cells > 4 * kTooltipsUpTo
              ? std::string()
              : fmt::format("{} to {}: {} experts", gpus(from * group, group), gpus(to * group, group), experts);
      svg.rect(kLeft + static_cast<double>(to) * cell, kTop + static_cast<double>(from) * cell, cell - 0.5, cell - 0.5,
               share_colour(static_cast<double>(experts) / static_cast<double>(most)), tip);
    }
  }
  svg.text(kLeft, kTop + size + 16, fmt::format("rows: from, columns: to; darkest {} experts", most));
  return svg.str();
}

std::string rounds_timeline(RebalanceSchedule const& schedule) {
  std::size_t longest = 1;
  std::size_t most = 1;
  for (LayerSchedule const& layer : schedule.layers) {
    longest = std::max({longest, layer.rounds.size(), static_cast<std::size_t>(layer.bound.rounds)});
    for (TransferRound const& round : layer.rounds) most = std::max(most, round.transfers.size());
  }
  double const width = std::min(40.0, kPlotWidth / static_cast<double>(longest));
  double const height = std::clamp(480.0 / static_cast<double>(schedule.layers.size()), 4.0, 18.0);
  double const bottom = kTop + height * static_cast<double>(schedule.layers.size());
  Svg svg(kLeft + kPlotWidth + 8, bottom + 22, "rounds of every layer");
  label_columns(svg, longest, 1, width);
  std::size_t const step = label_step(schedule.layers.size(), 30);
  for (std::size_t i = 0; i < schedule.layers.size(); ++i) {
    LayerSchedule const& layer = schedule.layers[i];
    double const y = kTop + static_cast<double>(i) * height;
    label_row(svg, i, step, height, i);
    for (std::size_t round = 0; round < layer.rounds.size(); ++round) {
      std::size_t const transfers = layer.rounds[round].transfers.size();
      svg.rect(kLeft + static_cast<double>(round) * width, y, width - 1, height - 1,
               share_colour(static_cast<double>(transfers) / static_cast<double>(most)),
               fmt::format("layer {}, round {}: {} transfers", i, round, transfers));
    }
    double const bound = kLeft + static_cast<double>(layer.bound.rounds) * width - 0.5;
    if (layer.bound.rounds > 0) svg.line(bound, y, bound, y + height - 1, "bound");
  }
  svg.text(kLeft, bottom + 16,
           fmt::format("rows: layers, columns: rounds; darkest {} transfers; red line: no schedule has fewer", most));
  return svg.str();
}

std::string pareto_curve(std::vector<ParetoPoint> const& points, ParetoPoint const& planned) {
  constexpr double kHeight = 300;
  std::int64_t const moves = std::max({std::int64_t{1}, points.back().moves, planned.moves});
  double const low = std::min(points.back().wait_ratio, planned.wait_ratio);
  double const high = std::max({points.front().wait_ratio, planned.wait_ratio, low + 1e-9});
  auto const x = [&](std::int64_t m) {
    return kLeft + kPlotWidth * static_cast<double>(m) / static_cast<double>(moves);
  };
  auto const y = [&](double wait) { return kTop + kHeight * (high - wait) / (high - low); };
  Svg svg(kLeft + kPlotWidth + 40, kTop + kHeight + 44, "moves against balance");
  svg.line(kLeft, kTop, kLeft, kTop + kHeight, "axis");
  svg.line(kLeft, kTop + kHeight, kLeft + kPlotWidth, kTop + kHeight, "axis");
  std::string path;
  std::size_t const step = points.size() / 2000 + 1;  // a page of megabytes helps nobody
  for (std::size_t i = 0; i < points.size(); i += step)
    path += fmt::format("{:.5g},{:.5g} ", x(points[i].moves), y(points[i].wait_ratio));
  path += fmt::format("{:.5g},{:.5g}", x(points.back().moves), y(points.back().wait_ratio));
  svg.polyline(path);
  svg.circle(x(planned.moves), y(planned.wait_ratio), 5,
             fmt::format("this plan: {} fetches, {:.4f} of the wait now", planned.moves, planned.wait_ratio));
  svg.text(kLeft - 6, kTop + 4, fmt::format("{:.3f}", high), "end");
  svg.text(kLeft - 6, kTop + kHeight + 4, fmt::format("{:.3f}", low), "end");
  svg.text(kLeft, kTop + kHeight + 18, "0");
  svg.text(kLeft + kPlotWidth, kTop + kHeight + 18, fmt::format("{} fetches", moves), "end");
  svg.text(kLeft, kTop + kHeight + 36,
           "across: experts fetched; up: wait for the busiest GPUs, relative to now; dot: this plan");
  return svg.str();
}

}  // namespace switchyard::cli::html
