// SPDX-License-Identifier: Apache-2.0
// switchyard verify: proves a plan or schedule file and carries it out on emulated ranks, byte for byte.
#include <fmt/format.h>

#include "cli/progress.hpp"
#include "commands/commands.hpp"
#include "commands/verify_report.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::cli {
namespace {

constexpr std::int64_t kMaxRowBytes = 1 << 16;

/// "64,24": row sizes of the tensors that every expert is given.
std::vector<std::int64_t> tensor_row_bytes(ParsedOptions const& options) {
  std::vector<std::int64_t> sizes;
  std::string const list = options.text("tensor-bytes");
  for (std::size_t first = 0; first <= list.size();) {
    std::size_t const end = std::min(list.find(',', first), list.size());
    sizes.push_back(integer_of("tensor-bytes", list.substr(first, end - first), 1, kMaxRowBytes));
    first = end + 1;
  }
  return sizes;
}

cpu::RehearsalOptions rehearsal_options(ParsedOptions const& options) {
  cpu::RehearsalOptions rehearsal;
  rehearsal.tensor_row_bytes = tensor_row_bytes(options);
  bool const threads = options.choice("scheduler", {"cooperative", "threads"}) == "threads";
  rehearsal.scheduler = threads ? cpu::SchedulerKind::threads : cpu::SchedulerKind::cooperative;
  rehearsal.seed = static_cast<std::uint64_t>(options.integer("seed", 0, INT64_MAX));
  return rehearsal;
}

/// A run that a plan brings to an early end counts against the plan; a machine that is too small does not.
RehearsalOutcome rehearse_mode(std::string const& text, std::string const& file, cpu::RehearsalOptions options,
                               cpu::RebalanceMode mode) {
  RehearsalOutcome outcome{mode, {}};
  options.mode = mode;
  try {
    outcome.report = cpu::rehearse(text, file, options);
  } catch (Error const& error) {
    if (error.code() == ErrorCode::out_of_memory || error.code() == ErrorCode::invalid_argument) throw;
    outcome.error = error.what();
  }
  return outcome;
}

/// A file that is no plan is bad input; a plan whose own digest disagrees with its content was altered: found wrong.
void read_plan(std::string const& text, VerifyReport& report) {
  try {
    report.plan = io::rebalance_from_json(text, report.file);
    report.violations = std::visit([](auto const& plan) { return validate(plan); }, *report.plan);
  } catch (Error const& error) {
    if (error.code() != ErrorCode::invalid_plan) throw;
    report.refusal = error.message();
  }
}

/// A schedule with few spare rows overwrites served rows on its way: it can only run in place.
bool can_be_buffered(std::variant<RebalancePlan, RebalanceSchedule> const& plan) {
  auto const* const schedule = std::get_if<RebalanceSchedule>(&plan);
  if (schedule == nullptr) return true;
  for (int layer = 0; layer < schedule->after.num_layers(); ++layer)
    if (!is_buffered(*schedule, layer)) return false;
  return true;
}

ExitCode run_verify(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  cpu::RehearsalOptions const rehearsal = rehearsal_options(options);
  VerifyReport report;
  report.file = options.text("PLAN");
  std::string const text = io::read_file(report.file);
  read_plan(text, report);
  if (report.plan && report.violations.empty()) {
    Progress progress("rehearsal", 2);
    if (can_be_buffered(*report.plan))
      report.rehearsals.push_back(rehearse_mode(text, report.file, rehearsal, cpu::RebalanceMode::buffered));
    progress.set(1);
    report.rehearsals.push_back(rehearse_mode(text, report.file, rehearsal, cpu::RebalanceMode::in_place));
  }
  fmt::print("{}", json ? to_json(report) : to_table(report));
  return report.good() ? ExitCode::ok : ExitCode::found_wrong;
}

}  // namespace

Command verify_command() {
  return {
      "verify",
      "proves a plan or schedule file and rehearses it on emulated ranks",
      "Proves every list of the plan on symbolic rows, then executes it twice, buffered and in place: every emulated\n"
      "rank parses the file itself, holds real bytes and reaches the others through a communicator only. Expected\n"
      "bytes come from (layer, expert, tensor, offset) and the target placement, never from the plan's lists.\n",
      {{"PLAN", OptionKind::positional, "PLAN", "", "plan or schedule file"},
       {"tensor-bytes", OptionKind::optional, "LIST", "64,24", "row sizes of the tensors that an expert is given"},
       {"scheduler", OptionKind::optional, "cooperative|threads", "cooperative",
        "all ranks on one thread in a drawn order, or one thread each"},
       {"seed", OptionKind::optional, "N", "0", "order of the cooperative ranks; 0 is rank order"},
       format_option()},
      {"switchyard verify plan.json", "switchyard verify plan.json --scheduler threads --format json"},
      run_verify};
}

}  // namespace switchyard::cli
