// SPDX-License-Identifier: Apache-2.0
// An ASTRA-sim network as a cluster: the first dimension is the node, the second joins nodes rail by rail.
//
// Worked example: topology [ Switch, Ring ], npus_count [ 8, 2 ], bandwidth [ 400, 50 ], latency [ 900, 1000 ]. Eight
// GPUs with ports of 400 * 1.073741824 = 429.5 GB/s; their paths have two links of 900 ns, 1.8 us. Eight rails of two
// nodes; a ring of two is one link, 53.7 GB/s and 1 us.
#include <algorithm>

#include "cluster/astra_file.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/sim/cluster_spec.hpp"

namespace switchyard::sim {
namespace {

constexpr double kGbOfGib = 1.073741824;  // ASTRA-sim counts 2^30 bytes per GB
constexpr double kUsOfNs = 1e-3;
constexpr int kWidestFullRing = 3;  // in a ring of up to three everybody is next to everybody

/// A port and what one pair can use of it.
struct Port {
  double gb_per_s = 0;
  double pair_gb_per_s = 0;
  double latency_us = 0;
};

Port port_of(AstraDimension const& dimension) {
  int const neighbours = std::max(1, dimension.npus - 1);
  SWITCHYARD_REQUIRE(dimension.block != AstraBlock::ring || dimension.npus <= kWidestFullRing, unsupported,
                     "{}: in a ring of {} NPUs bytes pass through other NPUs, which no link here does: use Switch or "
                     "FullyConnected with the bandwidth that a pair gets",
                     dimension.place, dimension.npus);
  bool const switched = dimension.block == AstraBlock::switched;
  double const links = dimension.links_per_npu > 0 ? dimension.links_per_npu : switched ? 1 : neighbours;
  Port port;
  port.gb_per_s = links * dimension.link_gb_per_s * kGbOfGib;
  port.pair_gb_per_s = switched ? port.gb_per_s : port.gb_per_s / neighbours;
  port.latency_us = ((switched ? 2 : 1) * dimension.link_latency_ns + dimension.device_latency_ns) * kUsOfNs;
  return port;
}

void join_nodes(ClusterSpec& spec, AstraDimension const& dimension) {
  Port const port = port_of(dimension);
  SWITCHYARD_REQUIRE(port.pair_gb_per_s == port.gb_per_s, unsupported,
                     "{}: {} nodes joined pair by pair: here a NIC's whole bandwidth serves every pair; use Switch",
                     dimension.place, dimension.npus);
  spec.nodes = dimension.npus;
  spec.network = {
      spec.gpus_per_node,          port.gb_per_s, port.latency_us, 0, true, spec.nodes, port.gb_per_s * spec.nodes,
      NetworkRouting::rail_forward};
  spec.sources["network.nic_gb_per_s"] = "second dimension of the ASTRA-sim file, GB of 2^30 bytes";
  spec.sources["network.leaf_uplink_gb_per_s"] = "no uplink is used: every rail has one switch";
}

std::vector<AstraDimension> without_single(std::vector<AstraDimension> dimensions) {
  auto const single = [](AstraDimension const& dimension) { return dimension.npus == 1; };
  dimensions.erase(std::remove_if(dimensions.begin(), dimensions.end(), single), dimensions.end());
  return dimensions;
}

}  // namespace

ClusterSpec cluster_spec_from_astra(std::string_view text, std::string const& source_name) {
  auto const first = text.find_first_not_of(" \t\r\n");
  bool const json = first != std::string_view::npos && text[first] == '{';
  auto const dimensions =
      without_single(json ? read_astra_json(text, source_name) : read_astra_yaml(text, source_name));
  SWITCHYARD_REQUIRE(!dimensions.empty(), unsupported, "{}: one NPU alone has no network", source_name);
  SWITCHYARD_REQUIRE(dimensions.size() <= 2, unsupported,
                     "{}: {} dimensions of more than one NPU: a cluster here has nodes and what joins them; put two "
                     "dimensions together",
                     dimensions[2].place, dimensions.size());
  ClusterSpec spec;
  spec.name = source_name;
  spec.gpus_per_node = dimensions[0].npus;
  Port const port = port_of(dimensions[0]);
  spec.intra_node = {NodeFabric::nvswitch, port.gb_per_s, port.pair_gb_per_s, port.latency_us, 0, 1, 0, 0};
  spec.sources["intra_node.gpu_gb_per_s"] = "first dimension of the ASTRA-sim file, GB of 2^30 bytes";
  if (dimensions.size() == 2) join_nodes(spec, dimensions[1]);
  require_valid(spec);
  return spec;
}

ClusterSpec cluster_spec_from_text(std::string_view text, std::string const& source_name) {
  bool const own = text.find("\"switchyard-topology\"") != std::string_view::npos;
  bool const astra = text.find("npus_count") != std::string_view::npos ||
                     text.find("\"topologies-per-dim\"") != std::string_view::npos ||
                     text.find("\"logical-dims\"") != std::string_view::npos;
  return own || !astra ? cluster_spec_from_json(text, source_name) : cluster_spec_from_astra(text, source_name);
}

}  // namespace switchyard::sim
