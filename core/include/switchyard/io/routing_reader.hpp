// SPDX-License-Identifier: Apache-2.0
/// Reader of routing recordings: the choices of every recorded token of one layer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "switchyard/routing/routing_map.hpp"

namespace switchyard::io {

/// The routing of one layer, and how many records of the file are not part of it.
struct RoutingReadResult {
  RoutingMap routing;                  ///< topk form, one token per record in file order
  std::int64_t dropped_profiling = 0;  ///< as in LoadReadResult
  std::int64_t dropped_other = 0;      ///< records of other types
  std::int64_t other_layers = 0;       ///< routing records of layers that were not asked for
};

/// Reads the records of `layer` from a JSONL routing recording (docs/formats/loads.md).
/// @param num_experts as for read_expert_load. @throws Error{parse} for a malformed line, a record of the layer without
/// weights, or a layer without records; Error{io} as read_file.
[[nodiscard]] RoutingReadResult read_routing(std::string const& path, int layer, int num_experts);

/// The same from memory; `source_name` is what messages call it.
[[nodiscard]] RoutingReadResult parse_routing(std::string_view content, std::string const& source_name, int layer,
                                              int num_experts);

}  // namespace switchyard::io
