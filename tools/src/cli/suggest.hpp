// SPDX-License-Identifier: Apache-2.0
/// Nearest-name suggestions for misspelt options, commands and values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace switchyard::cli {

/// @return the edit distance (insert, delete, replace, swap of neighbours each cost 1).
[[nodiscard]] int edit_distance(std::string_view a, std::string_view b);
/// @return the candidate nearest to `word`, or "" when none is near enough to be meant.
[[nodiscard]] std::string nearest(std::string_view word, std::vector<std::string> const& candidates);
/// @return "did you mean 'X'?" or "known are A, B, C": what a message about an unknown word ends with.
[[nodiscard]] std::string did_you_mean(std::string_view word, std::vector<std::string> const& candidates);

}  // namespace switchyard::cli
