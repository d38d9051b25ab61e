// SPDX-License-Identifier: Apache-2.0
// The straight line that stands for a measured curve at the bytes a phase has.
#include <algorithm>
#include <array>
#include <map>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/sim/cost_file.hpp"

namespace switchyard::sim {
namespace {

constexpr double kBytesPerUsPerGbPerS = 1000;

/// What crosses GPU ports in one phase.
struct PortUse {
  std::int64_t busiest_bytes = 0;  ///< of one port and direction
  std::int64_t pair_bytes = 0;     ///< of the busiest pair's fuller direction
  double pair_mean_bytes = 0;      ///< half of what that pair moves in both directions
};

PortUse port_use(ClusterTopology const& topology, std::span<Flow const> flows) {
  LinkAccount account(topology);
  std::map<std::pair<int, int>, std::array<std::int64_t, 2>> pairs;
  for (Flow const& flow : flows) {
    account.add(flow);
    if (flow.from != flow.to && topology.node_of(flow.from) == topology.node_of(flow.to))
      pairs[std::minmax(flow.from.value(), flow.to.value())][flow.from < flow.to ? 0 : 1] += flow.bytes;
  }
  PortUse use;
  for (auto const link_class : {LinkClass::gpu_out, LinkClass::gpu_in})
    for (int rank = 0; rank < topology.num_ranks(); ++rank)
      use.busiest_bytes =
          std::max(use.busiest_bytes, account.link_bytes(LinkId(topology.first_link(link_class).value() + rank)));
  for (auto const& [pair, bytes] : pairs) {
    double const mean = (static_cast<double>(bytes[0]) + static_cast<double>(bytes[1])) / 2;
    if (mean <= use.pair_mean_bytes) continue;
    use.pair_mean_bytes = mean;
    use.pair_bytes = std::max(bytes[0], bytes[1]);
  }
  return use;
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
  PortUse const use = port_use(ClusterTopology(spec), flows);
  if (use.busiest_bytes == 0) return spec;
  auto const busiest = static_cast<double>(use.busiest_bytes);
  auto const pair = static_cast<double>(use.pair_bytes);
  bool const is_pair = of_node.key.ranks == 2 && pair > 0;
  double const pair_port = is_pair ? port_bytes_per_us(spec, curves) : 0;
  // Two GPUs share their channels for both directions, so their curve is looked up at what goes each way on average, or
  // at what takes the channels as long as the fuller direction takes the port.
  double const known =
      is_pair ? std::max(use.pair_mean_bytes, pair * final_bytes_per_us(of_node) / pair_port) : busiest;
  double const us = us_of_port(of_node, known);
  ClusterSpec calibrated = spec;
  IntraNodeSpec& node = calibrated.intra_node;
  node.latency_us = std::max(0.0, us - known / final_bytes_per_us(of_node));
  double const port = is_pair ? pair_port : busiest / (us - node.latency_us);
  node.gpu_gb_per_s = node.peer_gb_per_s = port / kBytesPerUsPerGbPerS;
  node.message_us = 0;
  if (pair == 0) return calibrated;
  double const pair_us = std::max(us_of_port(curve_for(curves, 2), use.pair_mean_bytes) - node.latency_us, pair / port);
  node.peer_gb_per_s = std::min(node.gpu_gb_per_s, pair / pair_us / kBytesPerUsPerGbPerS);
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
