// SPDX-License-Identifier: Apache-2.0
/// The drawings of the report: heat map of loads, transfer matrix, rounds, trade-off curve. Each returns inline SVG.
#pragma once

#include <string>
#include <vector>

#include "planning/incremental_choice.hpp"
#include "planning/transfer_matrix.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"

namespace switchyard::cli::html {

/// [layers][ranks] loads relative to the layer's mean. More than 256 ranks are drawn in groups, each as its hottest.
[[nodiscard]] std::string load_heatmap(std::vector<std::vector<double>> const& ratios, std::string_view title);
/// Experts from GPU (row) to GPU (column), all layers; more than 128 GPUs are drawn in groups, summed.
[[nodiscard]] std::string transfer_matrix(TransferMatrix const& matrix);
/// One row per layer: its rounds side by side, shaded by how many transfers each has, and where the bound lies.
[[nodiscard]] std::string rounds_timeline(RebalanceSchedule const& schedule);
/// @param points at least one, moves ascending. @param planned_moves and its wait mark the plan of the report.
[[nodiscard]] std::string pareto_curve(std::vector<ParetoPoint> const& points, ParetoPoint const& planned);

}  // namespace switchyard::cli::html
