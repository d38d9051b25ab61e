// SPDX-License-Identifier: Apache-2.0
/// Lists as option values: "3,5,8" and ranges "256..320/16".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::cli {

/// @return the parts of `text` between separators; one empty part for an empty text.
[[nodiscard]] std::vector<std::string> split(std::string_view text, char separator);

/// "3,5,8" of option `name`. @throws UsageError for a part that is no integer in [min, max].
[[nodiscard]] std::vector<std::int64_t> integer_list(std::string const& name, std::string const& text, std::int64_t min,
                                                     std::int64_t max);
/// "1,0.5,2" of option `name`. @throws UsageError for a part that is no finite number in [min, max].
[[nodiscard]] std::vector<double> number_list(std::string const& name, std::string const& text, double min, double max);

/// "A", "A..B" (every integer) or "A..B/STEP" of option `name`. @throws UsageError, also for more than 4,096 values.
[[nodiscard]] std::vector<std::int64_t> integer_range(std::string const& name, std::string const& text,
                                                      std::int64_t min, std::int64_t max);

}  // namespace switchyard::cli
