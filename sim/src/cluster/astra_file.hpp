// SPDX-License-Identifier: Apache-2.0
/// AstraFile: a network file of ASTRA-sim's analytical backends, as it says it, dimension by dimension.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::sim {

/// How the NPUs of a dimension are joined.
enum class AstraBlock : std::uint8_t { ring, fully_connected, switched };

struct AstraDimension {
  AstraBlock block = AstraBlock::switched;
  int npus = 1;
  double link_gb_per_s = 0;  ///< of one link and direction; ASTRA-sim's GB is 2^30 bytes
  double links_per_npu = 0;  ///< 0 = the file does not say: one into a switch, one to every neighbour otherwise
  double link_latency_ns = 0;
  double device_latency_ns = 0;  ///< router and NICs of a path, where the file has them
  std::string place{};           ///< "file: line 3" or a JSON place: where the size of the dimension stands
};

/// Reads the YAML of ASTRA-sim 2 (four keys, lists in brackets), the same keys as JSON, or the older JSON with
/// "topologies-per-dim".
/// @throws Error{parse} naming file, line or byte, key and value.
[[nodiscard]] std::vector<AstraDimension> read_astra_yaml(std::string_view text, std::string const& source_name);
[[nodiscard]] std::vector<AstraDimension> read_astra_json(std::string_view text, std::string const& source_name);

}  // namespace switchyard::sim
