// SPDX-License-Identifier: Apache-2.0
// switchyard inspect: what a plan file holds, its digest, and whether its rules hold.
#include <fmt/format.h>

#include "commands/commands.hpp"
#include "commands/inspect_report.hpp"
#include "commands/plan_file.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::cli {
namespace {

void read_plans(std::string const& text, InspectReport& report) {
  PlanFile plans = plan_file_of(text, report.file);
  report.group = plans.group;
  report.dispatch = std::move(plans.dispatch);
  report.rebalance = std::move(plans.rebalance);
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
