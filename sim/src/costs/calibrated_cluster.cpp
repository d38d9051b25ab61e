// SPDX-License-Identifier: Apache-2.0
// The straight line that stands for a measured curve at the bytes a phase has.
#include <algorithm>
#include <map>

#include "costs/p2p_channels.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/sim/cost_file.hpp"

namespace switchyard::sim {
namespace {

constexpr double kBytesPerUsPerGbPerS = 1000;

/// Bytes that a GPU's port, or a pair of GPUs, moves in its two directions.
struct BothWays {
  double one = 0, other = 0;
  [[nodiscard]] double fuller() const { return std::max(one, other); }
  [[nodiscard]] double mean() const { return (one + other) / 2; }
};

struct NodeTraffic {
  std::vector<BothWays> ports{};  ///< [ranks]
  std::vector<BothWays> pairs{};  ///< of ranks of one node that exchange anything
};

NodeTraffic traffic_of(ClusterTopology const& topology, std::span<Flow const> flows) {
  LinkAccount account(topology);
  std::map<std::pair<int, int>, BothWays> pairs;
  for (Flow const& flow : flows) {
    account.add(flow);
    if (flow.from == flow.to || topology.node_of(flow.from) != topology.node_of(flow.to)) continue;
    BothWays& pair = pairs[std::minmax(flow.from.value(), flow.to.value())];
    (flow.from < flow.to ? pair.one : pair.other) += static_cast<double>(flow.bytes);
  }
  NodeTraffic traffic;
  auto const bytes_at = [&](LinkClass link_class, int rank) {
    return static_cast<double>(account.link_bytes(LinkId(topology.first_link(link_class).value() + rank)));
  };
  for (int rank = 0; rank < topology.num_ranks(); ++rank)
    traffic.ports.push_back({bytes_at(LinkClass::gpu_out, rank), bytes_at(LinkClass::gpu_in, rank)});
  for (auto const& [ranks, pair] : pairs) traffic.pairs.push_back(pair);
  return traffic;
}

/// The curve of the most ranks up to `ranks`, or of the fewest.
FittedCurve const& curve_for(std::span<FittedCurve const> curves, int ranks) {
  SWITCHYARD_REQUIRE(!curves.empty(), invalid_argument, "a cluster of {} GPUs a node has no all-to-all curve: fit one",
                     ranks);
  FittedCurve const* best = &curves.front();
  for (FittedCurve const& curve : curves)
    if (curve.key.ranks <= ranks && curve.key.ranks > best->key.ranks) best = &curve;
  return *best;
}

/// The part of a rank's bytes that leaves it when all ranks get equal shares.
double leaving_share(FittedCurve const& curve) {
  SWITCHYARD_REQUIRE(curve.key.ranks >= 2, invalid_argument, "{}: an all-to-all of {} ranks has no peers",
                     to_string(curve.key), curve.key.ranks);
  return static_cast<double>(curve.key.ranks - 1) / curve.key.ranks;
}

double us_of_port(FittedCurve const& curve, double bytes) {
  return cost_us(curve.fit.curve, bytes / leaving_share(curve));
}

double final_bytes_per_us(FittedCurve const& curve) {
  double const rate = final_size_per_us(curve.fit.curve) * leaving_share(curve);
  SWITCHYARD_REQUIRE(rate > 0, invalid_argument, "{}: its time never grows with size: measure larger messages",
                     to_string(curve.key));
  return rate;
}

/// What is left of a link's rate for payload: NCCL's tuner counts 20.6 of 25 GB/s of a Hopper NVLink and direction
/// (src/graph/topo.h).
constexpr double kPayloadPart = 20.6 / 25;

/// What a port carries one way: the payload part of what the cluster says, or more where an exchange moved more.
double port_bytes_per_us(ClusterSpec const& spec, std::span<FittedCurve const> curves) {
  double most = spec.intra_node.gpu_gb_per_s * kBytesPerUsPerGbPerS * kPayloadPart;
  for (FittedCurve const& curve : curves) most = std::max(most, final_bytes_per_us(curve));
  return most;
}

/// What a pair takes among `ranks`: its two directions share its channels, and where it has fewer of them than a pair
/// of two ranks each carries more.
double us_of_pair(FittedCurve const& of_two, int ranks, BothWays const& pair) {
  double const more = of_two.key.ranks == 2
                          ? static_cast<double>(p2p_channels(2, pair.fuller())) / p2p_channels(ranks, pair.fuller())
                          : 1.0;
  return us_of_port(of_two, pair.mean() * more);
}

}  // namespace

std::vector<FittedCurve> alltoall_curves(CostFile const& costs, std::string const& system) {
  std::vector<FittedCurve> curves;
  for (FittedCurve const& curve : costs.curves)
    if (curve.key.operation == "alltoall" && curve.key.variant.empty() &&
        (system.empty() || curve.key.system == system))
      curves.push_back(curve);
  SWITCHYARD_REQUIRE(!curves.empty(), invalid_argument,
                     "the costs hold no all-to-all curve{}{}: calibrate from nccl-tests all-to-all times",
                     system.empty() ? "" : " of system ", system);
  for (FittedCurve const& curve : curves)
    SWITCHYARD_REQUIRE(curve.key.system == curves.front().key.system, invalid_argument,
                       "the costs hold all-to-all curves of {} and {}: say which system", curves.front().key.system,
                       curve.key.system);
  std::stable_sort(curves.begin(), curves.end(),
                   [](FittedCurve const& a, FittedCurve const& b) { return a.key.ranks < b.key.ranks; });
  return curves;
}

ClusterSpec calibrated_cluster(ClusterSpec const& spec, std::span<FittedCurve const> curves,
                               std::span<Flow const> flows) {
  FittedCurve const& of_node = curve_for(curves, spec.gpus_per_node);
  auto const [ports, pairs] = traffic_of(ClusterTopology(spec), flows);
  auto const fullest = [](std::vector<BothWays> const& all) {
    double most = 0;
    for (BothWays const& one : all) most = std::max(most, one.fuller());
    return most;
  };
  double const port_bytes = fullest(ports);
  if (port_bytes == 0) return spec;
  double const rate = final_bytes_per_us(of_node);
  double const shared = rate / port_bytes_per_us(spec, curves);
  double known = 0;
  for (BothWays const& port : ports) known = std::max({known, port.mean(), port.fuller() * shared});
  double const us = us_of_port(of_node, known);
  ClusterSpec calibrated = spec;
  IntraNodeSpec& node = calibrated.intra_node;
  node.latency_us = std::max(0.0, us - known / rate);
  double const port_rate = port_bytes / (us - node.latency_us);
  node.gpu_gb_per_s = node.peer_gb_per_s = port_rate / kBytesPerUsPerGbPerS;
  node.message_us = 0;
  double const pair_bytes = fullest(pairs);
  if (pair_bytes == 0) return calibrated;
  double pair_us = pair_bytes / port_rate;
  for (BothWays const& pair : pairs)
    pair_us = std::max(pair_us, us_of_pair(curve_for(curves, 2), spec.gpus_per_node, pair) - node.latency_us);
  node.peer_gb_per_s = std::min(node.gpu_gb_per_s, pair_bytes / pair_us / kBytesPerUsPerGbPerS);
  return calibrated;
}

PlanCost calibrated_cost_of(ClusterSpec const& spec, std::span<FittedCurve const> curves,
                            std::span<TrafficPhase const> phases, NetworkModel const& model) {
  PlanCost cost = cost_of(ClusterTopology(spec), phases, *make_network_model(Fidelity::t0));
  cost.phases.clear();
  cost.time_us = cost.lower_bound_us = 0;
  for (TrafficPhase const& phase : phases) {
    ClusterTopology const topology(calibrated_cluster(spec, curves, phase.flows));
    auto one = cost_of(topology, std::span(&phase, 1), model);
    cost.time_us += one.time_us;
    cost.lower_bound_us += one.lower_bound_us;
    cost.phases.push_back(std::move(one.phases.front()));
  }
  return cost;
}

}  // namespace switchyard::sim
