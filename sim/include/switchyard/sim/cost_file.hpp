// SPDX-License-Identifier: Apache-2.0
/// CostFile: fitted costs with where they are from, and the clusters they calibrate.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/sim/cluster_spec.hpp"
#include "switchyard/sim/grouped_gemm.hpp"
#include "switchyard/sim/measured_curve.hpp"
#include "switchyard/sim/plan_cost.hpp"

namespace switchyard::sim {

struct FittedCurve {
  CurveKey key{};
  CostProvenance provenance{};
  int samples = 0;
  CurveFit fit{};
  friend bool operator==(FittedCurve const&, FittedCurve const&) = default;
};

struct CostFile {
  static constexpr int kSchemaVersion = 2;
  std::vector<FittedCurve> curves{};
  std::vector<GroupedGemmCost> gemms{};
  friend bool operator==(CostFile const&, CostFile const&) = default;
};

/// @throws Error{invalid_argument} as fit_curve(), or for provenance with an empty member.
[[nodiscard]] FittedCurve fit(MeasuredCurve const& measured);

/// JSON as docs/simulator.md says. Same costs, same bytes; reading gives back equal costs.
[[nodiscard]] std::string to_json(CostFile const& costs);
/// Unknown members refused. @throws Error{parse} with file, byte, path and value; Error{invalid_argument} for curves
/// that fall or provenance that is missing.
[[nodiscard]] CostFile cost_file_from_json(std::string_view text, std::string const& source_name);

/// The all-to-all curves of one system, ranks ascending; without any, the even exchanges with peers of alltoallv.
/// @param system empty = the only one. @throws Error{invalid_argument} when there is none or the choice is open.
[[nodiscard]] std::vector<FittedCurve> alltoall_curves(CostFile const& costs, std::string const& system);

/// The cluster whose intra-node constants make `flows` take what all-to-all curves say. Capacity is what a curve
/// reaches at large sizes, latency the rest; message costs are in the curve and become 0. What goes both ways goes as
/// in an even exchange, what the fuller direction has left goes on alone.
/// - Ports: the curve of as many ranks as a node has (the largest measured count up to it, else the smallest), then
///   what a port carries one way: 82 % of what the cluster says, NCCL's figure for payload, or the best of all curves
///   if that is more.
/// - Pairs: the two-rank curve, at as many more bytes as NCCL gives a pair of two ranks more channels than one of a
///   node; then the pair's channels, each as fast as in the largest exchange of that curve, small messages apart.
/// Between nodes nothing changes. Flows that stay on their rank count for nothing; without others the cluster is `spec`
/// itself.
/// @throws Error{invalid_argument} for no curves or a curve that never rises.
[[nodiscard]] ClusterSpec calibrated_cluster(ClusterSpec const& spec, std::span<FittedCurve const> curves,
                                             std::span<Flow const> flows);

/// cost_of() with every phase on its own calibrated cluster. @throws as both.
[[nodiscard]] PlanCost calibrated_cost_of(ClusterSpec const& spec, std::span<FittedCurve const> curves,
                                          std::span<TrafficPhase const> phases, NetworkModel const& model);

}  // namespace switchyard::sim
