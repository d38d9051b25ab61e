// SPDX-License-Identifier: Apache-2.0
#include "commands/routing_input.hpp"

#include "switchyard/io/file.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::cli {

std::vector<RoutingMap> deal_tokens(RoutingMap const& all, int ranks) {
  std::vector<RoutingMap> routings;
  std::int64_t first = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    std::int64_t const tokens = all.num_tokens() / ranks + (rank < all.num_tokens() % ranks ? 1 : 0);
    auto const begin = static_cast<std::size_t>(first * all.top_k());
    auto const count = static_cast<std::size_t>(tokens * all.top_k());
    auto const ids = all.ids().subspan(begin, count);
    auto const weights = all.weights().subspan(begin, count);
    routings.push_back(RoutingMap::from_topk(tokens, all.num_experts(), all.top_k(), {ids.begin(), ids.end()},
                                             {weights.begin(), weights.end()}));
    first += tokens;
  }
  return routings;
}

ExpertPlacement placement_of(ParsedOptions const& options, int num_experts, int ep, int layer) {
  if (!options.has("placement")) return ExpertPlacement::contiguous(layer + 1, num_experts, ep);
  std::string const file = options.text("placement");
  return io::placement_from_json(io::read_file(file), file, num_experts, ep);
}

}  // namespace switchyard::cli
