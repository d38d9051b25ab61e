// SPDX-License-Identifier: Apache-2.0
/// Naming ranks in messages: "rank 3", "ranks 0-2, 5".
#pragma once

#include <string>
#include <vector>

#include "switchyard/types/ids.hpp"

namespace switchyard::cpu {

/// @param ranks ascending. @return "no rank", "rank 3" or runs as in "ranks 0-2, 5"; after 8 runs the rest is counted.
[[nodiscard]] std::string list_ranks(std::vector<RankId> const& ranks);

}  // namespace switchyard::cpu
