// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/cluster_topology.hpp"

#include <bit>
#include <limits>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {
namespace {

int ceil_div(int a, int b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

int pcie_switches(ClusterSpec const& spec) {
  if (spec.intra_node.fabric != NodeFabric::pcie) return 0;
  return spec.num_ranks() / spec.intra_node.gpus_per_pcie_switch;
}

int leaf_groups(ClusterSpec const& spec) {
  return ceil_div(spec.nodes, spec.network.nodes_per_leaf);
}

int leaves(ClusterSpec const& spec) {
  if (spec.network.nics_per_node == 0) return 0;
  return leaf_groups(spec) * (spec.network.rails ? spec.network.nics_per_node : 1);
}

std::array<std::int32_t, kNumLinkClasses> links_of_class(ClusterSpec const& spec) {
  int const nics = spec.nodes * spec.network.nics_per_node;
  int const switches = pcie_switches(spec);
  int const bridges = switches > 0 ? spec.nodes : 0;
  return {spec.num_ranks(), spec.num_ranks(), switches, switches, bridges, nics, nics, leaves(spec), leaves(spec)};
}

std::array<double, kNumLinkClasses> rates_of_class(ClusterSpec const& spec) {
  auto const& node = spec.intra_node;
  auto const& net = spec.network;
  std::array<double, kNumLinkClasses> rates{
      node.gpu_gb_per_s,         node.gpu_gb_per_s,         node.pcie_switch_gb_per_s,
      node.pcie_switch_gb_per_s, node.host_bridge_gb_per_s, net.nic_gb_per_s,
      net.nic_gb_per_s,          net.leaf_uplink_gb_per_s,  net.leaf_uplink_gb_per_s};
  for (double& rate : rates) rate *= kBytesPerUsOfGbPerS;
  return rates;
}

char const* owner_of(LinkClass link_class) {
  switch (link_class) {
    case LinkClass::gpu_out:
    case LinkClass::gpu_in: return "rank";
    case LinkClass::pcie_out:
    case LinkClass::pcie_in: return "PCIe switch";
    case LinkClass::host_bridge: return "node";
    case LinkClass::nic_out:
    case LinkClass::nic_in: return "NIC";
    default: return "leaf";
  }
}

}  // namespace

std::string_view to_string(LinkClass link_class) noexcept {
  constexpr std::array<std::string_view, kNumLinkClasses> names{
      "gpu_out", "gpu_in", "pcie_out", "pcie_in", "host_bridge", "nic_out", "nic_in", "leaf_up", "leaf_down"};
  return names[static_cast<std::size_t>(link_class)];
}

/// Builds one path hop by hop.
class ClusterTopology::Route {
 public:
  explicit Route(ClusterTopology const& topology) : topology_(topology), spec_(topology.spec_) {}

  Path between(int from, int to) {
    path_.peer_bytes_per_us = std::numeric_limits<double>::infinity();
    if (from == to) return path_;
    if (place(from).node == place(to).node) {
      path_.message_us = spec_.intra_node.message_us;
      inside_node(from, to);
    } else {
      path_.message_us = spec_.network.message_us;
      across_nodes(from, to);
    }
    return path_;
  }

 private:
  [[nodiscard]] Place const& place(int rank) const { return topology_.places_[to_size(rank)]; }
  /// The GPU of another node that stands where `rank` stands in its own: its NIC is on the same rail.
  [[nodiscard]] int on_same_rail(int rank, int other_node) const {
    return other_node * spec_.gpus_per_node + place(rank).local;
  }
  [[nodiscard]] bool same_rail(int a, int b) const {
    int const nics = spec_.network.nics_per_node;
    return place(a).nic - place(a).node * nics == place(b).nic - place(b).node * nics;
  }

  void hop(LinkClass link_class, int index) {
    path_.hops[to_size(path_.num_hops++)] =
        LinkId(topology_.first_of_class_[static_cast<std::size_t>(link_class)] + index);
  }

  void inside_node(int from, int to) {
    path_.latency_us += spec_.intra_node.latency_us;
    path_.peer_bytes_per_us = std::min(path_.peer_bytes_per_us, spec_.intra_node.peer_gb_per_s * kBytesPerUsOfGbPerS);
    hop(LinkClass::gpu_out, from);
    if (spec_.intra_node.fabric == NodeFabric::pcie) through_bridge(from, to);
    hop(LinkClass::gpu_in, to);
  }

  void through_bridge(int from, int to) {
    if (place(from).pcie_switch == place(to).pcie_switch) return;
    hop(LinkClass::pcie_out, place(from).pcie_switch);
    hop(LinkClass::host_bridge, place(from).node);
    hop(LinkClass::pcie_in, place(to).pcie_switch);
  }

  void across_nodes(int from, int to) {
    auto const routing = spec_.network.routing;
    if (routing == NetworkRouting::direct || same_rail(from, to)) return over_network(from, to);
    if (routing == NetworkRouting::rail_forward) {
      int const forwarder = on_same_rail(to, place(from).node);
      inside_node(from, forwarder);
      return over_network(forwarder, to);
    }
    int const forwarder = on_same_rail(from, place(to).node);
    over_network(from, forwarder);
    inside_node(forwarder, to);
  }

  void over_network(int from, int to) {
    path_.latency_us += spec_.network.latency_us;
    hop(LinkClass::nic_out, place(from).nic);
    if (place(from).leaf != place(to).leaf) {
      hop(LinkClass::leaf_up, place(from).leaf);
      hop(LinkClass::leaf_down, place(to).leaf);
    }
    hop(LinkClass::nic_in, place(to).nic);
  }

  ClusterTopology const& topology_;
  ClusterSpec const& spec_;
  Path path_{};
};

ClusterTopology::ClusterTopology(ClusterSpec spec) : spec_(std::move(spec)) {
  require_valid(spec_);
  auto const counts = links_of_class(spec_);
  for (std::size_t c = 0; c < counts.size(); ++c) first_of_class_[c + 1] = first_of_class_[c] + counts[c];
  class_bytes_per_us_ = rates_of_class(spec_);
  places_.reserve(to_size(num_ranks()));
  for (int node = 0; node < spec_.nodes; ++node)
    for (int local = 0; local < spec_.gpus_per_node; ++local) {
      // GPUs that share a NIC lie side by side.
      int const nics = spec_.network.nics_per_node;
      int const nic = static_cast<int>(std::int64_t{local} * nics / spec_.gpus_per_node);
      int const group = node / spec_.network.nodes_per_leaf;
      places_.push_back({node, local, node * nics + nic, spec_.network.rails ? group * nics + nic : group,
                         (node * spec_.gpus_per_node + local) / spec_.intra_node.gpus_per_pcie_switch});
    }
}

LinkClass ClusterTopology::class_of(LinkId link) const {
  SWITCHYARD_REQUIRE(link.value() >= 0 && link.value() < num_links(), invalid_argument,
                     "link {} is outside the cluster's {} links", link.value(), num_links());
  std::size_t c = 0;
  while (first_of_class_[c + 1] <= link.value()) ++c;
  return static_cast<LinkClass>(c);
}

double ClusterTopology::bytes_per_us(LinkId link) const {
  return class_bytes_per_us_[static_cast<std::size_t>(class_of(link))];
}

LinkId ClusterTopology::first_link(LinkClass link_class) const noexcept {
  return LinkId(first_of_class_[static_cast<std::size_t>(link_class)]);
}

std::string ClusterTopology::name_of(LinkId link) const {
  LinkClass const link_class = class_of(link);
  return fmt::format("{} of {} {}", to_string(link_class), owner_of(link_class),
                     link.value() - first_link(link_class).value());
}

Path ClusterTopology::path(RankId from, RankId to) const {
  for (RankId const rank : {from, to})
    SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.value() < num_ranks(), invalid_argument,
                       "rank {} is outside the cluster \"{}\" of {} ranks: give the topology of the plan's world",
                       rank.value(), spec_.name, num_ranks());
  return Route(*this).between(from.value(), to.value());
}

Fingerprint ClusterTopology::fingerprint() const {
  auto const& node = spec_.intra_node;
  auto const& net = spec_.network;
  double const reals[] = {
      node.gpu_gb_per_s,         node.peer_gb_per_s, node.latency_us, node.message_us, node.pcie_switch_gb_per_s,
      node.host_bridge_gb_per_s, net.nic_gb_per_s,   net.latency_us,  net.message_us,  net.leaf_uplink_gb_per_s};
  std::int64_t const integers[] = {spec_.nodes,
                                   spec_.gpus_per_node,
                                   static_cast<std::int64_t>(node.fabric),
                                   node.gpus_per_pcie_switch,
                                   net.nics_per_node,
                                   net.rails ? 1 : 0,
                                   net.nodes_per_leaf,
                                   static_cast<std::int64_t>(net.routing)};
  FingerprintBuilder builder;
  for (std::size_t i = 0; i < std::size(reals); ++i) builder.add_at(1, i, std::bit_cast<std::int64_t>(reals[i]));
  builder.add(2, integers);
  return builder.result();
}

}  // namespace switchyard::sim
