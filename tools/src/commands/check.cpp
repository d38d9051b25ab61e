// SPDX-License-Identifier: Apache-2.0
// switchyard check: recordings of somebody's dispatcher against the reference planner.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "cli/progress.hpp"
#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "commands/recordings_input.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::cli {
namespace {

struct CheckReport {
  std::size_t ranks = 0;
  std::size_t calls = 0;  ///< compared, the wrong one included
  std::int64_t integers = 0;
  std::int64_t dropped_other = 0;
  std::vector<std::string> fields;  ///< compared in the first call
  std::optional<RecordingMismatch> mismatch{};
};

CheckReport check_calls(Recordings const& recordings) {
  CheckReport report;
  report.ranks = recordings.of_rank.size();
  report.dropped_other = recordings.dropped_other;
  std::size_t const calls = number_of_calls(recordings);
  Progress progress("calls", static_cast<std::int64_t>(calls));
  for (std::size_t call = 0; call < calls && !report.mismatch; ++call) {
    auto const one = check_recordings(call_of(recordings, call));
    report.integers += one.integers_compared;
    report.mismatch = one.first_mismatch;
    if (call == 0) report.fields = one.fields;
    ++report.calls;
    progress.set(static_cast<std::int64_t>(report.calls));
  }
  return report;
}

std::string spelled(std::optional<std::int64_t> value) {
  return value ? fmt::format("{}", *value) : "nothing";
}

std::string to_table(CheckReport const& report) {
  std::string text = fmt::format("recorded   {} dispatch(es) of {} rank(s) compared, {} line(s) of other types\n",
                                 report.calls, report.ranks, report.dropped_other);
  text += fmt::format("fields     {}\n", fmt::join(report.fields, ", "));
  text += fmt::format("integers   {} equal\n", grouped(report.integers));
  if (!report.mismatch) return text + "ok: the recordings agree with the reference\n";
  auto const& wrong = *report.mismatch;
  return text + fmt::format("WRONG: dispatch {}, rank {}, {}[{}]: expected {}, got {}\n", report.calls - 1,
                            wrong.rank.value(), wrong.field, wrong.index, spelled(wrong.expected), spelled(wrong.got));
}

nlohmann::ordered_json number_or_null(std::optional<std::int64_t> value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

std::string to_json(CheckReport const& report) {
  nlohmann::ordered_json mismatch = nullptr;
  if (report.mismatch) {
    auto const& wrong = *report.mismatch;
    mismatch = {{"dispatch", report.calls - 1},
                {"rank", wrong.rank.value()},
                {"field", wrong.field},
                {"index", wrong.index},
                {"expected", number_or_null(wrong.expected)},
                {"got", number_or_null(wrong.got)}};
  }
  nlohmann::ordered_json const root{{"schema_version", 1},
                                    {"ok", !report.mismatch},
                                    {"ranks", report.ranks},
                                    {"dispatches", report.calls},
                                    {"fields", report.fields},
                                    {"integers_equal", report.integers},
                                    {"lines_of_other_types", report.dropped_other},
                                    {"first_mismatch", mismatch}};
  return root.dump(2) + "\n";
}

ExitCode run_check(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  Recordings recordings;
  for (std::string const& file : options.list("DUMP")) add_recordings(recordings, io::read_file(file), file);
  CheckReport const report = check_calls(recordings);
  if (report.integers == 0 && !report.mismatch) {
    throw UsageError(fmt::format("the recordings hold nothing to compare: record at least one of {}",
                                 fmt::join(recorded_field_names(), ", ")));
  }
  fmt::print("{}", json ? to_json(report) : to_table(report));
  return report.mismatch ? ExitCode::found_wrong : ExitCode::ok;
}

}  // namespace

Command check_command() {
  return {
      "check",
      "compares recordings of your dispatcher with the reference",
      "Reads JSONL recordings of all ranks of a group (one file per rank, or fewer), plans the recorded routings\n"
      "with the reference planner, and names the first wrong integer: dispatch, rank, field, index, expected, got.\n"
      "docs/formats/recording.md describes the lines; tools/recorders write them from Megatron-Core and vLLM.\n",
      {{"DUMP", OptionKind::positional, "DUMP...", "", "recordings, in any order of ranks", true}, format_option()},
      {"switchyard check rank0.jsonl rank1.jsonl", "switchyard check dump.jsonl --format json"},
      run_check};
}

}  // namespace switchyard::cli
