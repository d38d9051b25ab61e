// SPDX-License-Identifier: Apache-2.0
// Patterns of alltoallv, predicted from uniform traffic alone.
#include <algorithm>
#include <cmath>

#include "costs/own_copies.hpp"
#include "costs/rivals.hpp"
#include "costs/upper_median.hpp"
#include "switchyard/internal/alltoallv_patterns.hpp"
#include "switchyard/sim/validation.hpp"

namespace switchyard::sim {
namespace {

/// What a host takes to issue an exchange, where that is longer than GPUs take for a small one.
struct HostIssue {
  double exchange_us = 0;
  double with_copy_us = 0;  ///< and a copy of the rank's own rows
};

/// What uniform traffic tells of a fixture's machine.
struct UniformCosts {
  std::vector<FittedCurve> exchanges{};  ///< of as many ranks as the fixture first, then of others
  OwnCopies own{};
  HostIssue issue{};
};

bool is_known(std::string const& pattern) {
  return std::any_of(std::begin(kAllToAllPatterns), std::end(kAllToAllPatterns),
                     [&](auto const& one) { return pattern == one.first; });
}

/// A pattern's messages as flows. What a rank copies to itself holds its flows up.
std::vector<Flow> flows_of(std::string const& pattern, double total_bytes, int ranks, OwnCopies const& own) {
  auto const own_bytes = [&](int rank) { return total_bytes * pattern_share(pattern, ranks, rank, rank); };
  std::vector<Flow> flows;
  for (int from = 0; from < ranks; ++from)
    for (int to = 0; to < ranks; ++to) {
      auto const bytes = std::llround(total_bytes * pattern_share(pattern, ranks, from, to));
      if (bytes == 0 || from == to) continue;
      double const start_us = std::max(own.sends_wait_us(own_bytes(from)), own.receives_wait_us(own_bytes(to)));
      flows.push_back({RankId(from), RankId(to), bytes, 1, start_us});
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

double predicted_us(UniformCosts const& costs, std::string const& pattern, double total_bytes) {
  FittedCurve const& of_fixture = costs.exchanges.front();
  int const ranks = of_fixture.key.ranks;
  auto const flows = flows_of(pattern, total_bytes, ranks, costs.own);
  ClusterTopology const topology(
      calibrated_cluster(node_of(ranks, of_fixture.provenance.device), costs.exchanges, flows));
  double us = make_network_model(Fidelity::t1)->estimate(topology, flows).makespan_us;
  us = std::max(us, costs.issue.exchange_us);
  for (int rank = 0; rank < ranks; ++rank) {
    double const own_bytes = total_bytes * pattern_share(pattern, ranks, rank, rank);
    us = std::max({us, costs.own.alone_us(own_bytes), own_bytes > 0 ? costs.issue.with_copy_us : 0});
  }
  return us;
}

/// "2 x NVIDIA H100 80GB HBM3, compute capability 9.0, ..." -> "NVIDIA H100 80GB HBM3".
std::string gpu_of(std::string const& device) {
  auto const begin = device.find(" x ");
  std::string const named = begin == std::string::npos ? device : device.substr(begin + 3);
  return named.substr(0, named.find(','));
}

CurveValidation validate_pattern(UniformCosts const& costs, MeasuredCurve const& measured) {
  auto const split = split_outliers(measured.samples);
  std::vector<Prediction> points;
  for (Measurement const& one : medians_by_size(split.kept))
    points.push_back({one.size, one.us, predicted_us(costs, measured.key.variant, one.size), 0});
  auto result = summarised(to_string(measured.key), true, std::move(points), split.rejected,
                           measurement_spread(measured.samples));
  prepare_verdicts(result, measured);
  return result;
}

bool same_run(MeasuredCurve const& a, MeasuredCurve const& b) {
  return a.provenance == b.provenance && a.key.system == b.key.system && a.key.ranks == b.key.ranks;
}

bool is_pattern(MeasuredCurve const& curve, char const* pattern) {
  return curve.key.operation == "alltoallv" && curve.key.variant == pattern;
}

MeasuredCurve const* of_run(std::span<MeasuredCurve const> curves, MeasuredCurve const& run, char const* pattern) {
  for (MeasuredCurve const& one : curves)
    if (is_pattern(one, pattern) && same_run(one, run)) return &one;
  return nullptr;
}

bool same_gpus(MeasuredCurve const& a, MeasuredCurve const& b) {
  return gpu_of(a.provenance.device) == gpu_of(b.provenance.device);
}

/// The uniform pattern as replays of a graph, with its parts, where exchanges of `uniform` were issued by a host.
MeasuredCurve const* graph_of(MeasuredCurve const& uniform, std::span<MeasuredCurve const> curves) {
  for (MeasuredCurve const& one : curves)
    if (is_pattern(one, "uniform") && one.key.system == uniform.key.system + "-graph" &&
        one.key.ranks == uniform.key.ranks && same_gpus(one, uniform) && of_run(curves, one, "peers") != nullptr)
      return &one;
  return nullptr;
}

/// Whether `other` is even traffic of another number of ranks on the same GPUs: patterns issued in the same way, or
/// all-to-alls of any program.
bool tells_of(MeasuredCurve const& other, MeasuredCurve const& exchange) {
  if (other.key.ranks == exchange.key.ranks || other.key.ranks < 2) return false;
  if (is_pattern(other, exchange.key.variant.c_str()))
    return other.key.system == exchange.key.system && same_gpus(other, exchange);
  return other.key.operation == "alltoall" && other.key.variant.empty() &&
         exchange.provenance.device.find(other.provenance.device) != std::string::npos;
}

UniformCosts gpu_costs(MeasuredCurve const& uniform, std::span<MeasuredCurve const> curves) {
  MeasuredCurve const* const peers = of_run(curves, uniform, "peers");
  MeasuredCurve const& exchange = peers != nullptr ? *peers : uniform;
  UniformCosts costs{{fit(exchange)}, {}, {}};
  for (bool const same_program : {true, false})
    for (MeasuredCurve const& other : curves)
      if ((other.key.operation == "alltoallv") == same_program && tells_of(other, exchange))
        costs.exchanges.push_back(fit(other));
  if (peers != nullptr) costs.own = fit_own_copies(uniform, *peers, of_run(curves, uniform, "own"));
  return costs;
}

/// The median over the smaller half of the sizes, where GPUs wait for the host.
double issue_us(MeasuredCurve const& curve) {
  auto const points = medians_by_size(split_outliers(curve.samples).kept);
  std::vector<double> times;
  for (std::size_t i = 0; i < (points.size() + 1) / 2; ++i) times.push_back(points[i].us);
  return upper_median(std::move(times));
}

UniformCosts uniform_costs(MeasuredCurve const& uniform, std::span<MeasuredCurve const> curves) {
  MeasuredCurve const* const graph = graph_of(uniform, curves);
  if (graph == nullptr) return gpu_costs(uniform, curves);
  UniformCosts costs = gpu_costs(*graph, curves);
  costs.issue.with_copy_us = issue_us(uniform);
  if (auto const* const peers = of_run(curves, uniform, "peers")) costs.issue.exchange_us = issue_us(*peers);
  return costs;
}

}  // namespace

bool is_uniform_part(CurveKey const& key) {
  return key.variant == "uniform" || key.variant == "peers" || key.variant == "own";
}

std::vector<CurveValidation> validate_skewed(std::span<MeasuredCurve const> curves) {
  std::vector<CurveValidation> results;
  for (MeasuredCurve const& uniform : curves) {
    if (!is_pattern(uniform, "uniform")) continue;
    UniformCosts const costs = uniform_costs(uniform, curves);
    for (MeasuredCurve const& other : curves)
      if (other.key.operation == "alltoallv" && same_run(uniform, other) && !is_uniform_part(other.key) &&
          is_known(other.key.variant))
        results.push_back(validate_pattern(costs, other));
  }
  return results;
}

}  // namespace switchyard::sim
