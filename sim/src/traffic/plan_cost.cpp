// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/plan_cost.hpp"

#include <fmt/ranges.h>

#include <algorithm>

#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

struct Constant {
  std::string_view name;
  double& (*of)(ClusterSpec&);
};

constexpr std::array kConstants{
    Constant{"intra_node.gpu_gb_per_s", [](ClusterSpec& s) -> double& { return s.intra_node.gpu_gb_per_s; }},
    Constant{"intra_node.peer_gb_per_s", [](ClusterSpec& s) -> double& { return s.intra_node.peer_gb_per_s; }},
    Constant{"intra_node.latency_us", [](ClusterSpec& s) -> double& { return s.intra_node.latency_us; }},
    Constant{"intra_node.message_us", [](ClusterSpec& s) -> double& { return s.intra_node.message_us; }},
    Constant{"intra_node.pcie_switch_gb_per_s",
             [](ClusterSpec& s) -> double& { return s.intra_node.pcie_switch_gb_per_s; }},
    Constant{"intra_node.host_bridge_gb_per_s",
             [](ClusterSpec& s) -> double& { return s.intra_node.host_bridge_gb_per_s; }},
    Constant{"network.nic_gb_per_s", [](ClusterSpec& s) -> double& { return s.network.nic_gb_per_s; }},
    Constant{"network.latency_us", [](ClusterSpec& s) -> double& { return s.network.latency_us; }},
    Constant{"network.message_us", [](ClusterSpec& s) -> double& { return s.network.message_us; }},
    Constant{"network.leaf_uplink_gb_per_s", [](ClusterSpec& s) -> double& { return s.network.leaf_uplink_gb_per_s; }},
};

PhaseCost cost_of_phase(ClusterTopology const& topology, TrafficPhase const& phase, NetworkModel const& model) {
  LinkAccount account(topology);
  account.add(phase.flows);
  auto const estimate = model.estimate(topology, phase.flows);
  PhaseCost cost;
  cost.name = phase.name;
  cost.flows = static_cast<std::int64_t>(phase.flows.size());
  cost.bytes = account.total_bytes();
  cost.local_bytes = account.local_bytes();
  cost.lower_bound_us = account.lower_bound_us();
  cost.time_us = estimate.makespan_us;
  cost.merge_error_us = estimate.merge_error_us;
  if (LinkId const link = account.bottleneck(); link.valid()) cost.bottleneck = topology.name_of(link);
  return cost;
}

/// Classes in order; a class without links is left out.
std::vector<LinkClassUse> uses_of(LinkAccount const& account) {
  std::vector<LinkClassUse> uses;
  ClusterTopology const& topology = account.topology();
  for (std::int32_t id = 0; id < topology.num_links(); ++id) {
    LinkId const link(id);
    LinkClass const link_class = topology.class_of(link);
    if (uses.empty() || uses.back().link_class != link_class)
      uses.push_back({link_class, 0, 0, 0, topology.bytes_per_us(link)});
    LinkClassUse& use = uses.back();
    ++use.links;
    use.bytes += account.link_bytes(link);
    use.max_link_bytes = std::max(use.max_link_bytes, account.link_bytes(link));
  }
  return uses;
}

double time_with(ClusterSpec spec, std::string_view name, double value, std::span<TrafficPhase const> phases,
                 NetworkModel const& model) {
  ClusterTopology const topology(with_constant(std::move(spec), name, value));
  double us = 0;
  for (TrafficPhase const& phase : phases) us += model.estimate(topology, phase.flows).makespan_us;
  return us;
}

}  // namespace

PlanCost cost_of(ClusterTopology const& topology, std::span<TrafficPhase const> phases, NetworkModel const& model) {
  PlanCost cost;
  LinkAccount all(topology);
  for (TrafficPhase const& phase : phases) {
    all.add(phase.flows);
    cost.phases.push_back(cost_of_phase(topology, phase, model));
    cost.lower_bound_us += cost.phases.back().lower_bound_us;
    cost.time_us += cost.phases.back().time_us;
  }
  cost.links = uses_of(all);
  return cost;
}

std::vector<ClusterConstant> constants_of(ClusterSpec const& spec) {
  ClusterSpec copy = spec;
  std::vector<ClusterConstant> constants;
  for (Constant const& constant : kConstants)
    if (double const value = constant.of(copy); value != 0) constants.push_back({std::string(constant.name), value});
  return constants;
}

std::vector<std::string> cluster_constant_names() {
  std::vector<std::string> names;
  for (Constant const& constant : kConstants) names.emplace_back(constant.name);
  return names;
}

ClusterSpec with_constant(ClusterSpec spec, std::string_view name, double value) {
  auto const found = std::find_if(kConstants.begin(), kConstants.end(),
                                  [&](Constant const& constant) { return constant.name == name; });
  SWITCHYARD_REQUIRE(found != kConstants.end(), invalid_argument, "a cluster has no constant \"{}\": use one of {}",
                     name, fmt::join(cluster_constant_names(), ", "));
  found->of(spec) = value;
  auto& node = spec.intra_node;
  if (name == "intra_node.gpu_gb_per_s") node.peer_gb_per_s = std::min(node.peer_gb_per_s, node.gpu_gb_per_s);
  if (name == "intra_node.peer_gb_per_s") node.peer_gb_per_s = std::min(value, node.gpu_gb_per_s);
  require_valid(spec);
  return spec;
}

std::vector<Sensitivity> sensitivities(ClusterSpec const& spec, std::span<TrafficPhase const> phases,
                                       NetworkModel const& model, double fraction) {
  SWITCHYARD_REQUIRE(fraction > 0 && fraction < 1, invalid_argument,
                     "constants are varied by a fraction of {}: give more than 0 and less than 1", fraction);
  std::vector<Sensitivity> result;
  for (auto const& [name, value] : constants_of(spec))
    result.push_back({name, time_with(spec, name, value * (1 - fraction), phases, model),
                      time_with(spec, name, value * (1 + fraction), phases, model)});
  return result;
}

}  // namespace switchyard::sim
