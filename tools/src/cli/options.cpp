// SPDX-License-Identifier: Apache-2.0
#include "cli/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cli/suggest.hpp"

namespace switchyard::cli {
namespace {

std::string default_note(OptionSpec const& option) {
  if (option.kind == OptionKind::required) return " (required)";
  return option.default_value.empty() ? std::string() : fmt::format(" (default {})", option.default_value);
}

std::string label_of(OptionSpec const& option) {
  if (option.kind == OptionKind::positional) return option.value_name;
  return option.kind == OptionKind::flag ? fmt::format("--{}", option.name)
                                         : fmt::format("--{} {}", option.name, option.value_name);
}

bool must_be_given(OptionSpec const& option) {
  return option.kind == OptionKind::required || option.kind == OptionKind::positional;
}

}  // namespace

std::int64_t integer_of(std::string const& name, std::string const& value, std::int64_t min, std::int64_t max) {
  std::int64_t number = 0;
  auto const [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  bool const whole = error == std::errc() && end == value.data() + value.size();
  if (!whole || number < min || number > max) {
    throw UsageError(fmt::format("--{} is '{}': give an integer in [{}, {}]", name, value, min, max));
  }
  return number;
}

std::string ParsedOptions::text(std::string const& name) const {
  auto const found = values_.find(name);
  return found == values_.end() ? std::string() : found->second;
}

std::vector<std::string> ParsedOptions::list(std::string const& name) const {
  std::vector<std::string> values;
  if (!has(name)) return values;
  std::string const all = text(name);
  for (std::size_t first = 0; first <= all.size();) {
    std::size_t const end = std::min(all.find(kListSeparator, first), all.size());
    values.push_back(all.substr(first, end - first));
    first = end + 1;
  }
  return values;
}

std::int64_t ParsedOptions::integer(std::string const& name, std::int64_t min, std::int64_t max) const {
  return integer_of(name, text(name), min, max);
}

int ParsedOptions::small_integer(std::string const& name, int min, int max) const {
  return static_cast<int>(integer(name, min, max));
}

double ParsedOptions::number(std::string const& name, double min, double max) const {
  std::string const value = text(name);
  double number = 0;
  auto const [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  bool const whole = error == std::errc() && end == value.data() + value.size();
  if (!whole || !std::isfinite(number) || number < min || number > max) {
    throw UsageError(fmt::format("--{} is '{}': give a number in [{}, {}]", name, value, min, max));
  }
  return number;
}

std::string ParsedOptions::choice(std::string const& name, std::vector<std::string> const& choices) const {
  std::string const value = text(name);
  if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
    throw UsageError(fmt::format("--{} is '{}': {}", name, value, did_you_mean(value, choices)));
  }
  return value;
}

std::string describe_options(OptionTable const& table) {
  std::size_t width = 0;
  for (OptionSpec const& option : table) width = std::max(width, label_of(option).size());
  std::string text;
  for (OptionSpec const& option : table) {
    text += fmt::format("  {:<{}}  {}{}\n", label_of(option), width, option.help, default_note(option));
  }
  return text;
}

OptionTable usage_order(OptionTable table) {
  std::stable_partition(table.begin(), table.end(), must_be_given);
  return table;
}

std::string usage_of(OptionTable const& table) {
  std::string usage;
  for (OptionSpec const& option : usage_order(table)) {
    if (!usage.empty()) usage += ' ';
    usage += must_be_given(option) ? label_of(option) : fmt::format("[{}]", label_of(option));
  }
  return usage;
}

OptionSpec format_option() {
  return {"format", OptionKind::optional, "table|json", "table", "how the report on stdout is written"};
}

}  // namespace switchyard::cli
