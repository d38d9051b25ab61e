// SPDX-License-Identifier: Apache-2.0
// switchyard trace: what runs beside what when plans are carried out, as a file for a trace viewer.
#include <fmt/format.h>

#include "commands/commands.hpp"
#include "commands/simulate_kernels.hpp"
#include "html/timeline_page.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/sim/chrome_trace.hpp"
#include "timeline/timeline_report.hpp"

namespace switchyard::cli {
namespace {

constexpr std::int64_t kMaxEvents = std::int64_t{1} << 40;

void print(TimelineReport const& report, TimelineRun const& run, std::string const& format) {
  fmt::print("{}", format == "json" ? to_json(report, run) : format == "csv" ? to_csv(run) : to_table(report, run));
}

void write_trace(TimelineReport& report, TimelineRun const& run, ParsedOptions const& options) {
  std::int64_t const max_events = options.integer("max-events", 1, kMaxEvents);
  io::write_file_atomically(options.text("out"), sim::to_chrome_trace(run.graph, run.timeline, run.topology,
                                                                      report.plans.front(), max_events));
  report.traced_ranks = static_cast<int>(sim::traced_ranks(run.graph, run.timeline, max_events).size());
}

ExitCode run_trace(ParsedOptions const& options) {
  std::string const format = options.choice("format", {"table", "json", "csv"});
  for (OptionSpec const& kernel : kernel_options())
    if (options.has(kernel.name))
      throw UsageError(fmt::format("--{} times a phase of `simulate`: a timeline has none", kernel.name));
  TimelineReport report;
  auto const plans = read_plans(options.list("PLAN"), options);
  report.plans = names_of(plans, options.list("PLAN"));
  report.basis.cluster = cluster_of(options, ranks_of(plans.front()));
  for (std::size_t i = 0; i < plans.size(); ++i) {
    report.digests.push_back(digest_text(plans[i]));
    require_fit(plans[i], report.plans[i], report.basis.cluster);
  }
  report.fidelity = fidelity_of(options);
  report.basis.costs = costs_of(options);
  report.basis.work = work_times_of(options);
  report.basis.workers = workers_of(options);
  auto const model = model_of(options);
  TimelineJob const job(plans, report.plans, options, report.basis.cluster);
  TimelineRun const run = job.run(report.basis, *model);
  report.serial_us = job.serial_us(report.basis, *model, run);
  report.effect = job.effect(report.basis, *model, run);
  if (options.has("sensitivity"))
    report.variations = vary(report.basis, [&](TimingBasis const& basis) {
      return std::vector{job.run(basis, *model).summary.makespan_us};
    });
  if (options.has("out")) write_trace(report, run, options);
  if (options.has("html")) io::write_file_atomically(options.text("html"), html::timeline_page(report, run));
  print(report, run, format);
  return ExitCode::ok;
}

OptionTable trace_options() {
  OptionTable table{
      {"PLAN", OptionKind::positional, "PLAN", "",
       "dispatch groups or routings in turn over (layer, batch), a dispatcher's recordings, or one rebalance "
       "plan",
       true}};
  for (OptionSpec const& option : timing_options()) table.push_back(option);
  for (OptionSpec const& option : timeline_options()) table.push_back(option);
  table.push_back({"sensitivity", OptionKind::flag, "", "", "vary every constant by 20 % and name those that matter"});
  table.push_back({"out", OptionKind::optional, "FILE", "", "timeline for Perfetto or chrome://tracing (JSON)"});
  table.push_back({"max-events", OptionKind::optional, "N", fmt::format("{}", sim::kMaxTaskEvents),
                   "tasks in --out: whole ranks, the critical path's first, up to so many"});
  table.push_back({"html", OptionKind::optional, "FILE", "", "report with a drawing of the timeline, one file"});
  table.push_back({"format", OptionKind::optional, "table|json|csv", "table", "what to print; csv: one line per task"});
  return table;
}

}  // namespace

Command trace_command() {
  return {"trace",
          "puts plans on a timeline: what runs beside what",
          "Runs the layers of a model on emulated streams: attention, dispatch, experts, combine, a shared expert\n"
          "beside them, micro-batches that alternate, a rebalance behind them. Exchanges under way together share the\n"
          "links. Prints what the time consists of and writes a track per rank stream and link class.\n",
          trace_options(),
          {"switchyard trace group.jsonl --cluster dgx-h100 --layers 4 --batches 2 --attention-us 150 --out trace.json",
           "switchyard trace group.jsonl --cluster dgx-h100 --layers 58 --move plan.json --html timeline.html",
           "switchyard trace rank0.jsonl rank1.jsonl --cluster dgx-h100 --out trace.json",
           "switchyard trace routing.jsonl --ranks 16 --dedup per_node --cluster dgx-h100 --format json"},
          run_trace};
}

}  // namespace switchyard::cli
