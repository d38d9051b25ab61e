// SPDX-License-Identifier: Apache-2.0
/// Routing recordings, read as a load and, layer by layer, as routings: both must count the same choices.
#include <vector>

#include "fuzz/load_checks.hpp"
#include "switchyard/io/routing_reader.hpp"

namespace {

using switchyard::io::LoadReadResult;
using switchyard::io::RoutingReadResult;

constexpr int kLayersTried = 4;

double total_of_layer(LoadReadResult const& read, int layer) {
  double total = 0;
  for (double const load : read.load.at(0, layer)) total += load;
  return total;
}

/// `routings` holds the layers that could be read, ascending. A layer without weights has a load but no routing; only
/// when every layer has one do the two align.
void compare(LoadReadResult const& read, std::vector<RoutingReadResult> const& routings) {
  for (RoutingReadResult const& routing : routings) {
    fuzz::require(routing.dropped_profiling == read.dropped_profiling, "profiling records");
    fuzz::require(routing.dropped_other == read.dropped_other, "other records");
    fuzz::require(routing.routing.num_tokens() + routing.other_layers == read.records, "records");
  }
  if (static_cast<int>(routings.size()) != read.load.num_layers()) return;
  for (int layer = 0; layer < read.load.num_layers(); ++layer) {
    auto const choices = routings[static_cast<std::size_t>(layer)].routing.num_choices();
    fuzz::require(total_of_layer(read, layer) == static_cast<double>(choices), "choices of a layer");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const text = fuzz::as_text(data, size);
  auto const read = fuzz::check_load(text);
  std::vector<RoutingReadResult> routings;
  for (int layer = 0; layer < kLayersTried; ++layer) {
    auto routing = fuzz::attempt([&] { return switchyard::io::parse_routing(text, "in", layer, 0); },
                                 {switchyard::ErrorCode::parse});
    if (routing) routings.push_back(std::move(*routing));
  }
  if (read && read->format == switchyard::io::LoadFormat::jsonl_routing) compare(*read, routings);
  return 0;
}
