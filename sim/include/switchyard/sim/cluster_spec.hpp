// SPDX-License-Identifier: Apache-2.0
/// ClusterSpec: the constants of a cluster as a file states them, each with its unit in its name and its source.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::sim {

inline constexpr double kBytesPerUsOfGbPerS = 1000;  ///< GB is 1e9 bytes

/// How the GPUs of a node reach each other.
enum class NodeFabric : std::uint8_t {
  nvswitch,  ///< every GPU has one port into a switch plane that is never the bottleneck itself
  pcie,      ///< GPUs sit below PCIe switches that share one host bridge
};
[[nodiscard]] std::string_view to_string(NodeFabric fabric) noexcept;

/// Which way bytes take between GPUs of different nodes.
enum class NetworkRouting : std::uint8_t {
  direct,        ///< the source GPU's NIC to the destination GPU's NIC, across rails through the spine
  rail_forward,  ///< over NVLink to the GPU of the destination's rail first, then along that rail (NCCL's PXN)
  hierarchical,  ///< along the source's rail to the destination's node, then over NVLink (DeepEP's two hops)
};
[[nodiscard]] std::string_view to_string(NetworkRouting routing) noexcept;

/// One-way capacities per direction; GB is 1e9 bytes.
struct IntraNodeSpec {
  NodeFabric fabric = NodeFabric::nvswitch;
  double gpu_gb_per_s = 0;   ///< of a GPU's port, each direction
  double peer_gb_per_s = 0;  ///< of one (source, destination) pair; at most gpu_gb_per_s
  double latency_us = 0;
  double message_us = 0;         ///< what a message costs its sender before the next one can leave
  int gpus_per_pcie_switch = 1;  ///< pcie only, as are the next two
  double pcie_switch_gb_per_s = 0;
  double host_bridge_gb_per_s = 0;  ///< of a node, all switches and both directions together
};

struct NetworkSpec {
  int nics_per_node = 0;  ///< 0 = the nodes are not connected; must divide by or into gpus_per_node
  double nic_gb_per_s = 0;
  double latency_us = 0;
  double message_us = 0;
  bool rails = true;                ///< NIC i of every node hangs on leaf switch i of its group
  int nodes_per_leaf = 1;           ///< nodes that share leaf switches
  double leaf_uplink_gb_per_s = 0;  ///< of one leaf switch towards the spine, each direction
  NetworkRouting routing = NetworkRouting::direct;
};

struct ClusterSpec {
  static constexpr int kSchemaVersion = 1;

  std::string name{};
  int nodes = 1;
  int gpus_per_node = 1;
  double sms_per_gpu = 0;  ///< streaming multiprocessors, for the experts' times; 0 = not said
  IntraNodeSpec intra_node{};
  NetworkSpec network{};
  std::map<std::string, std::string> sources{};  ///< path of a constant, "network.nic_gb_per_s" -> where it is from

  [[nodiscard]] int num_ranks() const noexcept { return nodes * gpus_per_node; }
};

/// @throws Error{invalid_argument} naming the member and the value: sizes below 1, a bandwidth that is zero, negative
/// or
///         not finite, a negative latency, NICs that cannot be shared evenly, several nodes without a network, more
///         than 2^24 ranks.
void require_valid(ClusterSpec const& spec);

/// @return the names "dgx-h100", "dgx-h200", "dgx-b200", "gb200-nvl72", "dgx-a100", "l40s-8".
[[nodiscard]] std::vector<std::string> cluster_preset_names();
/// @param nodes how many of them. @throws Error{invalid_argument} for an unknown name or nodes below 1.
[[nodiscard]] ClusterSpec cluster_preset(std::string_view name, int nodes);

/// JSON as docs/formats/topology.md says. Same spec, same bytes.
[[nodiscard]] std::string to_json(ClusterSpec const& spec);
/// Reads what to_json writes, unknown members refused. @param source_name the file's name for messages.
/// @throws Error{parse} with file, byte, path and value; Error{invalid_argument} as require_valid.
[[nodiscard]] ClusterSpec cluster_spec_from_json(std::string_view text, std::string const& source_name);

/// A network file of ASTRA-sim: YAML or JSON with topology, npus_count, bandwidth (GB/s of 2^30 bytes, per link and
/// direction) and latency (ns per link), or the older JSON with topologies-per-dim. One dimension is a node; a second
/// joins nodes, every GPU with a link of its own, as rails. Ours has no per-hop forwarding through GPUs.
/// @throws Error{parse} naming file, line or place, key and value; Error{unsupported} for what has no counterpart here:
///         longer rings, pairwise joined nodes, three dimensions; Error{invalid_argument} as require_valid.
[[nodiscard]] ClusterSpec cluster_spec_from_astra(std::string_view text, std::string const& source_name);
/// Either of the two, told apart by their keys. @throws as both.
[[nodiscard]] ClusterSpec cluster_spec_from_text(std::string_view text, std::string const& source_name);

}  // namespace switchyard::sim
