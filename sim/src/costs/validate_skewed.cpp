// SPDX-License-Identifier: Apache-2.0
// Patterns of alltoallv, predicted from the uniform pattern alone.
#include <algorithm>
#include <cmath>

#include "costs/rivals.hpp"
#include "switchyard/sim/validation.hpp"

namespace switchyard::sim {
namespace {

/// @return the part of a sender's bytes that `from` sends to `to`; 0 as well where `pattern` is unknown.
double share_of(std::string const& pattern, int from, int to, int ranks) {
  if (pattern == "uniform") return 1.0 / ranks;
  if (pattern == "one_hot") return to == 0 ? 1 : 0;
  if (pattern == "one_direction") return from % 2 == 0 && to == (from + 1) % ranks ? 1 : 0;
  if (pattern == "half_silent") return from % 2 == 0 ? 1.0 / ranks : 0;
  if (pattern != "zipf") return 0;
  double sum = 0;
  for (int r = 0; r < ranks; ++r) sum += 1.0 / (1 + r);
  return 1.0 / (1 + (from + to) % ranks) / sum;
}

std::vector<Flow> flows_of(std::string const& pattern, double total_bytes, int ranks) {
  std::vector<Flow> flows;
  for (int from = 0; from < ranks; ++from)
    for (int to = 0; to < ranks; ++to) {
      auto const bytes = static_cast<std::int64_t>(std::llround(total_bytes * share_of(pattern, from, to, ranks)));
      if (bytes > 0) flows.push_back({RankId(from), RankId(to), bytes, 1, 0});
    }
  return flows;
}

/// One node; its ports are those of the preset whose GPU the device is, else unknown and left to the curves.
ClusterSpec node_of(int ranks, std::string const& device) {
  constexpr double kUnknownGbPerS = 1e-3;
  ClusterSpec spec;
  spec.name = "measured node";
  spec.gpus_per_node = ranks;
  spec.intra_node.gpu_gb_per_s = kUnknownGbPerS;
  for (auto const& [gpu, preset] : {std::pair{"H100", "dgx-h100"}, std::pair{"H200", "dgx-h200"},
                                    std::pair{"B200", "dgx-b200"}, std::pair{"A100", "dgx-a100"}})
    if (device.find(gpu) != std::string::npos)
      spec.intra_node.gpu_gb_per_s = cluster_preset(preset, 1).intra_node.gpu_gb_per_s;
  spec.intra_node.peer_gb_per_s = spec.intra_node.gpu_gb_per_s;
  return spec;
}

/// @param curves the uniform pattern first, then what else is known of the device's ports.
double predicted_us(std::span<FittedCurve const> curves, std::string const& pattern, double total_bytes) {
  int const ranks = curves.front().key.ranks;
  auto const flows = flows_of(pattern, total_bytes, ranks);
  ClusterTopology const topology(calibrated_cluster(node_of(ranks, curves.front().provenance.device), curves, flows));
  return make_network_model(Fidelity::t1)->estimate(topology, flows).makespan_us;
}

CurveValidation validate_pattern(std::span<FittedCurve const> curves, MeasuredCurve const& measured) {
  auto const split = split_outliers(measured.samples);
  std::vector<Prediction> points;
  for (Measurement const& one : medians_by_size(split.kept))
    points.push_back({one.size, one.us, predicted_us(curves, measured.key.variant, one.size), 0});
  auto result = summarised(to_string(measured.key), true, std::move(points), split.rejected,
                           measurement_spread(measured.samples));
  prepare_verdicts(result, measured);
  return result;
}

/// The uniform pattern, and all-to-all curves of more ranks of the same device, all of them uniform traffic.
std::vector<FittedCurve> known_of(MeasuredCurve const& uniform, std::span<MeasuredCurve const> curves) {
  std::vector<FittedCurve> known{fit(uniform)};
  for (MeasuredCurve const& other : curves)
    if (other.key.operation == "alltoall" && other.key.variant.empty() && other.key.ranks > uniform.key.ranks &&
        uniform.provenance.device.find(other.provenance.device) != std::string::npos)
      known.push_back(fit(other));
  return known;
}

bool same_run(MeasuredCurve const& a, MeasuredCurve const& b) {
  return a.provenance == b.provenance && a.key.ranks == b.key.ranks;
}

}  // namespace

std::vector<CurveValidation> validate_skewed(std::span<MeasuredCurve const> curves) {
  std::vector<CurveValidation> results;
  for (MeasuredCurve const& uniform : curves) {
    if (uniform.key.operation != "alltoallv" || uniform.key.variant != "uniform") continue;
    auto const fitted = known_of(uniform, curves);
    for (MeasuredCurve const& other : curves)
      if (other.key.operation == "alltoallv" && other.key.variant != "uniform" && same_run(uniform, other) &&
          !flows_of(other.key.variant, 1 << 20, other.key.ranks).empty())
        results.push_back(validate_pattern(fitted, other));
  }
  return results;
}

}  // namespace switchyard::sim
