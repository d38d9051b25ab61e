// SPDX-License-Identifier: Apache-2.0
#include "switchyard/io/routing_reader.hpp"

#include <algorithm>
#include <vector>

#include "route_records.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::io {

RoutingReadResult parse_routing(std::string_view content, std::string const& source_name, int layer, int num_experts) {
  SWITCHYARD_REQUIRE(num_experts >= 0 && layer >= 0, invalid_argument,
                     "layer {} of {} experts asked for: neither may be negative", layer, num_experts);
  RoutingReadResult result;
  RouteRecords records(content, source_name, num_experts);
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  std::int64_t tokens = 0;
  std::size_t top_k = 0;
  for (RouteRecord record; records.next(record);) {
    if (record.layer != layer) {
      ++result.other_layers;
      continue;
    }
    SWITCHYARD_REQUIRE(!record.weights.empty(), parse,
                       "{}: token {} of layer {} has no \"topk_weights\": a routing needs them, a load does not",
                       source_name, tokens, layer);
    top_k = record.ids.size();
    for (std::int64_t const id : record.ids) ids.push_back(static_cast<std::int32_t>(id));
    for (double const weight : record.weights) weights.push_back(static_cast<float>(weight));
    ++tokens;
  }
  result.dropped_profiling = records.dropped_profiling();
  result.dropped_other = records.dropped_other();
  SWITCHYARD_REQUIRE(tokens > 0, parse,
                     "{}: no routing record of layer {}: {} records are of other layers, {} look like the engine's "
                     "profiling pass, {} are of another type",
                     source_name, layer, result.other_layers, result.dropped_profiling, result.dropped_other);
  std::int64_t const largest = *std::max_element(ids.begin(), ids.end());
  std::int64_t const experts =
      records.num_experts() > 0 ? records.num_experts() : std::max<std::int64_t>(largest, 0) + 1;
  result.routing = RoutingMap::from_topk(tokens, static_cast<int>(experts), static_cast<int>(top_k), std::move(ids),
                                         std::move(weights));
  return result;
}

RoutingReadResult read_routing(std::string const& path, int layer, int num_experts) {
  return parse_routing(read_file(path), path, layer, num_experts);
}

}  // namespace switchyard::io
