// SPDX-License-Identifier: Apache-2.0
#include "commands/plan_file.hpp"

#include <fmt/format.h>

#include "cli/options.hpp"
#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/dispatch_group_jsonl.hpp"
#include "switchyard/io/dispatch_plan_json.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::cli {
namespace {

/// A group file holds a whole object per line; a plan of its own spreads over lines and opens with a bare brace.
bool is_group(std::vector<std::string_view> const& lines) {
  if (lines.empty()) return false;
  auto const last = lines.front().find_last_not_of(" \t\r");
  return lines.front()[last] == '}';
}

std::string kind_of(std::string_view document, std::string const& file) {
  auto const kind = io::JsonDocument::parse(document, file).root().find("kind");
  if (!kind) throw UsageError(fmt::format("{} says no \"kind\": give a dispatch plan or a rebalance plan", file));
  return kind->as_string();
}

}  // namespace

bool is_routing_recording(std::string const& text) {
  auto const lines = io::plan_lines(text);
  auto const has = [&](char const* member) {
    return !lines.empty() && lines.front().find(member) != std::string_view::npos;
  };
  return is_group(lines) && !has("\"kind\"") && (has("\"topk_ids\"") || has("\"meta\""));
}

PlanFile plan_file_of(std::string const& text, std::string const& file) {
  PlanFile plans;
  auto const lines = io::plan_lines(text);
  plans.group = is_group(lines);
  std::string const kind = kind_of(plans.group ? lines.front() : std::string_view(text), file);
  if (kind == "rebalance_plan") {
    plans.rebalance = io::rebalance_plan_from_json(text, file);
  } else if (kind != "dispatch_plan") {
    throw UsageError(
        fmt::format("{} is of kind '{}': give a dispatch plan or a rebalance plan", file, kind.substr(0, 40)));
  } else if (plans.group) {
    plans.dispatch = io::dispatch_group_from_jsonl(text, file);
  } else {
    plans.dispatch.push_back(io::dispatch_plan_from_json(text, file));
  }
  return plans;
}

}  // namespace switchyard::cli
