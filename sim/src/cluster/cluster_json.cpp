// SPDX-License-Identifier: Apache-2.0
// ClusterSpec as JSON: strict in, byte-stable out (docs/formats/topology.md).
#include <nlohmann/json.hpp>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/sim/cluster_spec.hpp"

namespace switchyard::sim {
namespace {

constexpr char const* kFormat = "switchyard-topology";
constexpr std::int64_t kMaxCount = 1 << 24;

int count_of(io::JsonValue const& value) {
  return static_cast<int>(value.as_int(0, kMaxCount));
}

NodeFabric fabric_of(io::JsonValue const& value) {
  std::string const text = value.as_string();
  for (auto const fabric : {NodeFabric::nvswitch, NodeFabric::pcie})
    if (text == to_string(fabric)) return fabric;
  value.fail("use \"nvswitch\" or \"pcie\"");
}

NetworkRouting routing_of(io::JsonValue const& value) {
  std::string const text = value.as_string();
  for (auto const routing : {NetworkRouting::direct, NetworkRouting::rail_forward, NetworkRouting::hierarchical})
    if (text == to_string(routing)) return routing;
  value.fail("use \"direct\", \"rail_forward\" or \"hierarchical\"");
}

IntraNodeSpec read_intra_node(io::JsonValue const& value) {
  IntraNodeSpec node;
  node.fabric = fabric_of(value.at("fabric"));
  bool const pcie = node.fabric == NodeFabric::pcie;
  if (!pcie) value.only_members({"fabric", "gpu_gb_per_s", "peer_gb_per_s", "latency_us", "message_us"});
  if (pcie)
    value.only_members({"fabric", "gpu_gb_per_s", "peer_gb_per_s", "latency_us", "message_us", "gpus_per_pcie_switch",
                        "pcie_switch_gb_per_s", "host_bridge_gb_per_s"});
  node.gpu_gb_per_s = value.at("gpu_gb_per_s").as_double();
  node.peer_gb_per_s = value.at("peer_gb_per_s").as_double();
  node.latency_us = value.at("latency_us").as_double();
  node.message_us = value.at("message_us").as_double();
  if (!pcie) return node;
  node.gpus_per_pcie_switch = count_of(value.at("gpus_per_pcie_switch"));
  node.pcie_switch_gb_per_s = value.at("pcie_switch_gb_per_s").as_double();
  node.host_bridge_gb_per_s = value.at("host_bridge_gb_per_s").as_double();
  return node;
}

NetworkSpec read_network(io::JsonValue const& value) {
  value.only_members({"nics_per_node", "nic_gb_per_s", "latency_us", "message_us", "rails", "nodes_per_leaf",
                      "leaf_uplink_gb_per_s", "routing"});
  NetworkSpec network;
  network.nics_per_node = count_of(value.at("nics_per_node"));
  network.nic_gb_per_s = value.at("nic_gb_per_s").as_double();
  network.latency_us = value.at("latency_us").as_double();
  network.message_us = value.at("message_us").as_double();
  network.rails = value.at("rails").as_bool();
  network.nodes_per_leaf = count_of(value.at("nodes_per_leaf"));
  network.leaf_uplink_gb_per_s = value.at("leaf_uplink_gb_per_s").as_double();
  network.routing = routing_of(value.at("routing"));
  return network;
}

void check_header(io::JsonValue const& root) {
  root.only_members({"format", "schema_version", "name", "nodes", "gpus_per_node", "sms_per_gpu", "intra_node",
                     "network", "sources"});
  if (root.at("format").as_string() != kFormat) root.at("format").fail("a cluster file says \"switchyard-topology\"");
  if (root.at("schema_version").as_int(0, kMaxCount) != ClusterSpec::kSchemaVersion)
    root.at("schema_version").fail("this version reads schema_version 1");
}

nlohmann::ordered_json json_of(IntraNodeSpec const& node) {
  nlohmann::ordered_json json{{"fabric", to_string(node.fabric)},
                              {"gpu_gb_per_s", node.gpu_gb_per_s},
                              {"peer_gb_per_s", node.peer_gb_per_s},
                              {"latency_us", node.latency_us},
                              {"message_us", node.message_us}};
  if (node.fabric == NodeFabric::nvswitch) return json;
  json["gpus_per_pcie_switch"] = node.gpus_per_pcie_switch;
  json["pcie_switch_gb_per_s"] = node.pcie_switch_gb_per_s;
  json["host_bridge_gb_per_s"] = node.host_bridge_gb_per_s;
  return json;
}

nlohmann::ordered_json json_of(NetworkSpec const& network) {
  return {{"nics_per_node", network.nics_per_node},
          {"nic_gb_per_s", network.nic_gb_per_s},
          {"latency_us", network.latency_us},
          {"message_us", network.message_us},
          {"rails", network.rails},
          {"nodes_per_leaf", network.nodes_per_leaf},
          {"leaf_uplink_gb_per_s", network.leaf_uplink_gb_per_s},
          {"routing", to_string(network.routing)}};
}

}  // namespace

std::string to_json(ClusterSpec const& spec) {
  nlohmann::ordered_json json{{"format", kFormat},
                              {"schema_version", ClusterSpec::kSchemaVersion},
                              {"name", spec.name},
                              {"nodes", spec.nodes},
                              {"gpus_per_node", spec.gpus_per_node}};
  if (spec.sms_per_gpu > 0) json["sms_per_gpu"] = spec.sms_per_gpu;
  json["intra_node"] = json_of(spec.intra_node);
  if (spec.network.nics_per_node > 0) json["network"] = json_of(spec.network);
  json["sources"] = nlohmann::ordered_json::object();
  for (auto const& [path, text] : spec.sources) json["sources"][path] = text;
  return json.dump(1) + "\n";
}

ClusterSpec cluster_spec_from_json(std::string_view text, std::string const& source_name) {
  io::JsonValue const root = io::JsonDocument::parse(text, source_name).root();
  check_header(root);
  ClusterSpec spec;
  spec.name = root.at("name").as_string();
  spec.nodes = count_of(root.at("nodes"));
  spec.gpus_per_node = count_of(root.at("gpus_per_node"));
  if (auto const sms = root.find("sms_per_gpu")) spec.sms_per_gpu = sms->as_double();
  spec.intra_node = read_intra_node(root.at("intra_node"));
  if (auto const network = root.find("network")) spec.network = read_network(*network);
  if (auto const sources = root.find("sources"))
    for (auto const& key : sources->keys()) spec.sources[key] = sources->at(key).as_string();
  require_valid(spec);
  return spec;
}

}  // namespace switchyard::sim
