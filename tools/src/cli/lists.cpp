// SPDX-License-Identifier: Apache-2.0
#include "cli/lists.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/options.hpp"

namespace switchyard::cli {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t first = 0; first <= text.size();) {
    std::size_t const end = std::min(text.find(separator, first), text.size());
    parts.emplace_back(text.substr(first, end - first));
    first = end + 1;
  }
  return parts;
}

std::vector<std::int64_t> integer_list(std::string const& name, std::string const& text, std::int64_t min,
                                       std::int64_t max) {
  std::vector<std::int64_t> values;
  for (std::string const& part : split(text, ',')) values.push_back(integer_of(name, part, min, max));
  return values;
}

std::vector<double> number_list(std::string const& name, std::string const& text, double min, double max) {
  std::vector<double> values;
  for (std::string const& part : split(text, ',')) {
    std::map<std::string, std::string> const one{{name, part}};
    values.push_back(ParsedOptions(one).number(name, min, max));
  }
  return values;
}

std::vector<std::int64_t> integer_range(std::string const& name, std::string const& text, std::int64_t min,
                                        std::int64_t max) {
  constexpr std::int64_t kMaxValues = 4096;
  std::size_t const dots = text.find("..");
  if (dots == std::string::npos) return {integer_of(name, text, min, max)};
  std::string const rest = text.substr(dots + 2);
  std::size_t const slash = std::min(rest.find('/'), rest.size());
  std::int64_t const first = integer_of(name, text.substr(0, dots), min, max);
  std::int64_t const last = integer_of(name, rest.substr(0, slash), min, max);
  std::int64_t const step = slash == rest.size() ? 1 : integer_of(name, rest.substr(slash + 1), 1, max);
  if (last < first || (last - first) / step >= kMaxValues)
    throw UsageError(
        fmt::format("--{} has the range '{}': give FIRST..LAST/STEP of at most {} values", name, text, kMaxValues));
  std::vector<std::int64_t> values;
  for (std::int64_t value = first; value <= last; value += step) values.push_back(value);
  return values;
}

}  // namespace switchyard::cli
