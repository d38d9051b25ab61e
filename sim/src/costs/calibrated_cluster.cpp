// SPDX-License-Identifier: Apache-2.0
// The straight line that stands for a measured curve at the bytes a phase has.
#include <algorithm>
#include <map>

#include "costs/exchange_model.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/sim/cost_file.hpp"

namespace switchyard::sim {
namespace {

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

double fullest(std::vector<BothWays> const& all) {
  double most = 0;
  for (BothWays const& one : all) most = std::max(most, one.fuller());
  return most;
}

}  // namespace

std::vector<FittedCurve> alltoall_curves(CostFile const& costs, std::string const& system) {
  std::vector<FittedCurve> curves;
  auto const add = [&](char const* operation, char const* variant) {
    for (FittedCurve const& curve : costs.curves)
      if (curve.key.operation == operation && curve.key.variant == variant &&
          (system.empty() || curve.key.system == system))
        curves.push_back(curve);
  };
  add("alltoall", "");
  if (curves.empty()) add("alltoallv", "peers");
  SWITCHYARD_REQUIRE(!curves.empty(), invalid_argument,
                     "the costs hold no all-to-all curve{}{}: calibrate from times of nccl-tests or "
                     "switchyard_gpu_exchanges",
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
  ExchangeModel const model(spec, curves);
  auto const [ports, pairs] = traffic_of(ClusterTopology(spec), flows);
  double const port_bytes = fullest(ports), pair_bytes = fullest(pairs);
  if (port_bytes == 0) return spec;
  auto const busiest = std::max_element(ports.begin(), ports.end(), [&](BothWays const& a, BothWays const& b) {
    return model.port_us(a) < model.port_us(b);
  });
  ClusterSpec calibrated = spec;
  IntraNodeSpec& node = calibrated.intra_node;
  node.latency_us = model.latency_us(*busiest);
  double const port_rate = port_bytes / (model.port_us(*busiest) - node.latency_us);
  node.gpu_gb_per_s = node.peer_gb_per_s = port_rate / kBytesPerUsOfGbPerS;
  node.message_us = 0;
  if (pair_bytes == 0) return calibrated;
  double pair_us = pair_bytes / port_rate;
  for (BothWays const& pair : pairs) pair_us = std::max(pair_us, model.pair_us(pair) - node.latency_us);
  node.peer_gb_per_s = std::min(node.gpu_gb_per_s, pair_bytes / pair_us / kBytesPerUsOfGbPerS);
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
