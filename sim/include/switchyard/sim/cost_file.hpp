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

/// The all-to-all curves of one system, ranks ascending.
/// @param system empty = the only one. @throws Error{invalid_argument} when there is none or the choice is open.
[[nodiscard]] std::vector<FittedCurve> alltoall_curves(CostFile const& costs, std::string const& system);

/// The cluster whose intra-node constants make the busiest port of `flows` take what the all-to-all curve of as many
/// ranks (the largest measured size up to the node's, else the smallest) says for its bytes, and the busiest pair what
/// the two-rank curve says for half of what the pair moves both ways (its two directions share channels), but no less
/// than its port takes: capacity is what the curve reaches at large sizes, latency the rest; message costs are in the
/// curve and become 0. On nodes of two ranks a port carries
/// 82 % of what the cluster says, NCCL's figure for payload, or what it does in the best of all curves if that is more.
/// Between nodes nothing changes. Flows that stay on their rank count for nothing; without others the cluster is `spec`
/// itself.
/// @throws Error{invalid_argument} for no curves or a curve that never rises.
[[nodiscard]] ClusterSpec calibrated_cluster(ClusterSpec const& spec, std::span<FittedCurve const> curves,
                                             std::span<Flow const> flows);

/// cost_of() with every phase on its own calibrated cluster. @throws as both.
[[nodiscard]] PlanCost calibrated_cost_of(ClusterSpec const& spec, std::span<FittedCurve const> curves,
                                          std::span<TrafficPhase const> phases, NetworkModel const& model);

}  // namespace switchyard::sim
