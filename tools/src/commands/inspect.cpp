// SPDX-License-Identifier: Apache-2.0
// switchyard inspect: what a plan file holds, its digest, and whether its rules hold.
#include <fmt/format.h>

#include "commands/commands.hpp"
#include "commands/inspect_report.hpp"
#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/dispatch_group_jsonl.hpp"
#include "switchyard/io/dispatch_plan_json.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/types/error.hpp"

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

void read_plans(std::string const& text, InspectReport& report) {
  auto const lines = io::plan_lines(text);
  report.group = is_group(lines);
  std::string const kind = kind_of(report.group ? lines.front() : std::string_view(text), report.file);
  if (kind == "rebalance_plan") {
    report.rebalance = io::rebalance_plan_from_json(text, report.file);
  } else if (kind != "dispatch_plan") {
    throw UsageError(
        fmt::format("{} is of kind '{}': give a dispatch plan or a rebalance plan", report.file, kind.substr(0, 40)));
  } else if (report.group) {
    report.dispatch = io::dispatch_group_from_jsonl(text, report.file);
  } else {
    report.dispatch.push_back(io::dispatch_plan_from_json(text, report.file));
  }
}

ExitCode run_inspect(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  InspectReport report;
  report.file = options.text("PLAN");
  try {
    read_plans(io::read_file(report.file), report);
    find_violations(report);
  } catch (Error const& error) {
    // A plan whose own digest disagrees with its content was altered: found wrong, not bad input.
    if (error.code() != ErrorCode::invalid_plan) throw;
    report.refusal = error.message();
  }
  fmt::print("{}", json ? to_json(report) : to_table(report));
  return report.good() ? ExitCode::ok : ExitCode::found_wrong;
}

}  // namespace

Command inspect_command() {
  return {"inspect",
          "shows what a plan file holds, with its digest",
          "Reads a dispatch plan of one rank, the dispatch plans of a group (one per line), or a rebalance plan, and\n"
          "prints sizes, stages, the digest, and every rule that is broken.\n",
          {{"PLAN", OptionKind::positional, "PLAN", "", "plan file"}, format_option()},
          {"switchyard inspect plan.json", "switchyard inspect group.jsonl --format json"},
          run_inspect};
}

}  // namespace switchyard::cli
