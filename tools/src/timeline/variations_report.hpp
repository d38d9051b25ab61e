// SPDX-License-Identifier: Apache-2.0
/// What a report of one time says of its variations.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "timeline/variations.hpp"

namespace switchyard::cli {

/// A line per constant that matters to a time of `us`, or that none does.
[[nodiscard]] std::string variation_lines(std::vector<Variation> const& variations, double us);
/// [constants] with the times they lead to and whether they matter.
[[nodiscard]] nlohmann::ordered_json variations_json(std::vector<Variation> const& variations, double us);

}  // namespace switchyard::cli
