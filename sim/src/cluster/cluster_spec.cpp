// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/cluster_spec.hpp"

#include <cmath>

#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr std::int64_t kMaxRanks = std::int64_t{1} << 24;

void require_bandwidth(char const* name, double gb_per_s) {
  SWITCHYARD_REQUIRE(std::isfinite(gb_per_s) && gb_per_s > 0, invalid_argument,
                     "{} is {} GB/s: a link that carries nothing or any amount cannot be timed; give a positive number",
                     name, gb_per_s);
}

void require_time(char const* name, double us) {
  SWITCHYARD_REQUIRE(std::isfinite(us) && us >= 0, invalid_argument, "{} is {} us: give zero or a positive number",
                     name, us);
}

void require_sizes(ClusterSpec const& spec) {
  SWITCHYARD_REQUIRE(spec.nodes >= 1 && spec.gpus_per_node >= 1, invalid_argument,
                     "the cluster has {} nodes with {} GPUs each: both must be at least 1", spec.nodes,
                     spec.gpus_per_node);
  SWITCHYARD_REQUIRE(std::int64_t{spec.nodes} * spec.gpus_per_node <= kMaxRanks, invalid_argument,
                     "{} nodes with {} GPUs each are more than {} ranks", spec.nodes, spec.gpus_per_node, kMaxRanks);
}

void require_pcie(ClusterSpec const& spec) {
  auto const& node = spec.intra_node;
  SWITCHYARD_REQUIRE(node.gpus_per_pcie_switch >= 1 && spec.gpus_per_node % node.gpus_per_pcie_switch == 0,
                     invalid_argument, "intra_node.gpus_per_pcie_switch is {}: it must divide the {} GPUs of a node",
                     node.gpus_per_pcie_switch, spec.gpus_per_node);
  require_bandwidth("intra_node.pcie_switch_gb_per_s", node.pcie_switch_gb_per_s);
  require_bandwidth("intra_node.host_bridge_gb_per_s", node.host_bridge_gb_per_s);
}

void require_intra_node(ClusterSpec const& spec) {
  auto const& node = spec.intra_node;
  require_bandwidth("intra_node.gpu_gb_per_s", node.gpu_gb_per_s);
  require_bandwidth("intra_node.peer_gb_per_s", node.peer_gb_per_s);
  SWITCHYARD_REQUIRE(node.peer_gb_per_s <= node.gpu_gb_per_s, invalid_argument,
                     "intra_node.peer_gb_per_s is {}, above the port's {} GB/s: a pair cannot exceed its port",
                     node.peer_gb_per_s, node.gpu_gb_per_s);
  require_time("intra_node.latency_us", node.latency_us);
  require_time("intra_node.message_us", node.message_us);
  if (node.fabric == NodeFabric::pcie) require_pcie(spec);
}

void require_network(ClusterSpec const& spec) {
  auto const& network = spec.network;
  SWITCHYARD_REQUIRE(spec.nodes == 1 || network.nics_per_node > 0, invalid_argument,
                     "ranks 0 and {} are not connected: {} nodes need network.nics_per_node of at least 1",
                     spec.gpus_per_node, spec.nodes);
  if (network.nics_per_node == 0) return;
  bool const even = network.nics_per_node > 0 && (network.nics_per_node % spec.gpus_per_node == 0 ||
                                                  spec.gpus_per_node % network.nics_per_node == 0);
  SWITCHYARD_REQUIRE(even, invalid_argument, "network.nics_per_node is {}: {} GPUs of a node cannot share them evenly",
                     network.nics_per_node, spec.gpus_per_node);
  require_bandwidth("network.nic_gb_per_s", network.nic_gb_per_s);
  require_bandwidth("network.leaf_uplink_gb_per_s", network.leaf_uplink_gb_per_s);
  require_time("network.latency_us", network.latency_us);
  require_time("network.message_us", network.message_us);
  SWITCHYARD_REQUIRE(network.nodes_per_leaf >= 1, invalid_argument, "network.nodes_per_leaf is {}: give at least 1",
                     network.nodes_per_leaf);
  SWITCHYARD_REQUIRE(network.rails || network.routing == NetworkRouting::direct, invalid_argument,
                     "routing {} follows rails, but network.rails is false: use direct routing or rails",
                     to_string(network.routing));
}

}  // namespace

std::string_view to_string(NodeFabric fabric) noexcept {
  return fabric == NodeFabric::pcie ? "pcie" : "nvswitch";
}

std::string_view to_string(NetworkRouting routing) noexcept {
  switch (routing) {
    case NetworkRouting::rail_forward: return "rail_forward";
    case NetworkRouting::hierarchical: return "hierarchical";
    default: return "direct";
  }
}

void require_valid(ClusterSpec const& spec) {
  require_sizes(spec);
  SWITCHYARD_REQUIRE(std::isfinite(spec.sms_per_gpu) && spec.sms_per_gpu >= 0, invalid_argument,
                     "sms_per_gpu is {}: give the streaming multiprocessors of a GPU, or leave it out",
                     spec.sms_per_gpu);
  require_intra_node(spec);
  require_network(spec);
}

}  // namespace switchyard::sim
