// SPDX-License-Identifier: Apache-2.0
#include "switchyard/io/dispatch_group_jsonl.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "switchyard/io/dispatch_plan_json.hpp"

namespace switchyard::io {

std::string to_jsonl(std::span<DispatchPlan const> plans) {
  std::string text;
  for (auto const& plan : plans) {
    std::string line = to_json(plan);
    // A plan's strings are names and hexadecimal digits: every newline stands between tokens.
    line.erase(std::remove(line.begin(), line.end(), '\n'), line.end());
    text += line + '\n';
  }
  return text;
}

std::vector<std::string_view> plan_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    auto const end = std::min(text.find('\n', begin), text.size());
    auto const line = text.substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines.push_back(line);
    begin = end + 1;
  }
  return lines;
}

std::vector<DispatchPlan> dispatch_group_from_jsonl(std::string_view text, std::string const& source_name) {
  std::vector<DispatchPlan> plans;
  for (std::string_view const line : plan_lines(text))
    plans.push_back(dispatch_plan_from_json(line, fmt::format("{}, plan {}", source_name, plans.size())));
  return plans;
}

}  // namespace switchyard::io
