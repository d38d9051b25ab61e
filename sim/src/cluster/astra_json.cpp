// SPDX-License-Identifier: Apache-2.0
// ASTRA-sim's network files as JSON: the four keys of the YAML, or the older names of its first analytical backend.
#include "cluster/astra_file.hpp"
#include "switchyard/internal/json_value.hpp"

namespace switchyard::sim {
namespace {

constexpr std::int64_t kMaxNpus = 1 << 24;

AstraBlock block_of(io::JsonValue const& value) {
  std::string const text = value.as_string();
  if (text == "Ring") return AstraBlock::ring;
  if (text == "FullyConnected") return AstraBlock::fully_connected;
  if (text == "Switch") return AstraBlock::switched;
  value.fail("use \"Ring\", \"FullyConnected\" or \"Switch\"");
}

/// The keys that a file uses for what every dimension has.
struct Names {
  char const *topology, *npus, *bandwidth, *latency;
};

std::vector<AstraDimension> read_dimensions(io::JsonValue const& root, Names const& names) {
  io::JsonValue const blocks = root.at(names.topology);
  std::size_t const count = blocks.array_size();
  for (char const* key : {names.npus, names.bandwidth, names.latency}) (void)root.at(key).array_size(count);
  std::vector<AstraDimension> dimensions(count);
  for (std::size_t i = 0; i < count; ++i) {
    AstraDimension& dimension = dimensions[i];
    dimension.block = block_of(blocks.at(i));
    dimension.npus = static_cast<int>(root.at(names.npus).at(i).as_int(1, kMaxNpus));
    dimension.link_gb_per_s = root.at(names.bandwidth).at(i).as_double();
    dimension.link_latency_ns = root.at(names.latency).at(i).as_double();
    dimension.place = root.at(names.npus).at(i).path();
  }
  return dimensions;
}

/// Themis' format: links per NPU, and latencies of routers and NICs. What an HBM takes is no matter of the network.
std::vector<AstraDimension> read_old(io::JsonValue const& root) {
  root.only_members({"topology-name", "topologies-per-dim", "dimension-type", "dimensions-count", "units-count",
                     "links-count", "link-latency", "link-bandwidth", "nic-latency", "router-latency", "hbm-latency",
                     "hbm-bandwidth", "hbm-scale"});
  if (root.at("topology-name").as_string() != "Hierarchical")
    root.at("topology-name").fail("only \"Hierarchical\" says what its dimensions are");
  auto dimensions = read_dimensions(root, {"topologies-per-dim", "units-count", "link-bandwidth", "link-latency"});
  auto const count = static_cast<std::int64_t>(dimensions.size());
  if (root.at("dimensions-count").as_int(0, kMaxNpus) != count)
    root.at("dimensions-count").fail("\"topologies-per-dim\" has another number of them");
  for (char const* key : {"links-count", "nic-latency", "router-latency"}) {
    auto const values = root.find(key);
    if (values) (void)values->array_size(dimensions.size());
    for (std::size_t i = 0; values && i < dimensions.size(); ++i) {
      double const value = values->at(i).as_double();
      if (value < 0) values->at(i).fail("must not be negative");
      if (key == std::string_view("links-count")) dimensions[i].links_per_npu = value;
      if (key == std::string_view("nic-latency")) dimensions[i].device_latency_ns += 2 * value;
      if (key == std::string_view("router-latency")) dimensions[i].device_latency_ns += value;
    }
  }
  return dimensions;
}

}  // namespace

std::vector<AstraDimension> read_astra_json(std::string_view text, std::string const& source_name) {
  io::JsonValue const root = io::JsonDocument::parse(text, source_name).root();
  if (auto const sizes = root.find("logical-dims"))
    sizes->fail("a logical topology has sizes, but neither bandwidths nor latencies: give the network file");
  if (root.find("topologies-per-dim")) return read_old(root);
  root.only_members({"topology", "npus_count", "bandwidth", "latency"});
  return read_dimensions(root, {"topology", "npus_count", "bandwidth", "latency"});
}

}  // namespace switchyard::sim
