// SPDX-License-Identifier: Apache-2.0
// switchyard simulate: what a dispatch or a rebalance costs on a cluster, from the plan itself.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "commands/commands.hpp"
#include "commands/simulate_report.hpp"
#include "commands/simulate_validation.hpp"
#include "html/timeline_page.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/sim/chrome_trace.hpp"
#include "timeline/timeline_inputs.hpp"

namespace switchyard::cli {
namespace {

/// The timeline of the phases as they are timed, and the page that shows it.
void write_files(SimulateReport const& report, TimedPlans const& plans, std::vector<sim::TrafficPhase> const& phases,
                 TimingBasis const& basis, ParsedOptions const& options) {
  if (options.has("cluster-out")) io::write_file_atomically(options.text("cluster-out"), to_json(report.cluster));
  if (!options.has("trace") && !options.has("html")) return;
  TimelineRun const run = phase_timeline(plans, phases, basis, *model_of(options));
  if (options.has("trace"))
    io::write_file_atomically(options.text("trace"),
                              sim::to_chrome_trace(run.graph, run.timeline, run.topology, report.plan_name));
  if (options.has("html")) io::write_file_atomically(options.text("html"), html::simulate_page(report, run));
}

ExitCode run_simulate(ParsedOptions const& options) {
  std::string const format = options.choice("format", {"table", "json", "csv"});
  auto const files = options.list("PLAN");
  if (options.has("validate")) return run_validation(files, format == "json");
  auto const read = read_plans(files, options);
  if (read.size() != 1) throw UsageError("several plans: `switchyard compare` takes two, simulate one");
  TimedPlans const& plans = read.front();
  SimulateReport report;
  report.plan_name = names_of(read, files).front();
  report.plan_kind = kind_text(plans);
  report.plan_digest = digest_text(plans);
  report.cluster = cluster_of(options, ranks_of(plans));
  require_fit(plans, files.front(), report.cluster);
  report.fidelity = fidelity_of(options);
  report.all_phases = options.has("all-phases");
  auto const model = model_of(options);
  auto const phases = phases_of(plans, options, report.cluster);
  TimingBasis const basis{report.cluster, costs_of(options), {}, workers_of(options)};
  report.curves = basis.costs.alltoall;
  report.cluster_digest = sim::ClusterTopology(report.cluster).fingerprint().to_hex();
  report.cost = time_plan(plans, report.cluster, phases, *model, basis.costs);
  report.varied = !options.has("no-sensitivity");
  if (report.varied)
    report.variations = vary(basis, [&](TimingBasis const& one) {
      return std::vector{time_plan(plans, one.cluster, phases, *model, one.costs).time_us};
    });
  write_files(report, plans, phases, basis, options);
  fmt::print("{}", format == "json" ? to_json(report) : format == "csv" ? to_csv(report) : to_table(report));
  return ExitCode::ok;
}

OptionTable simulate_options() {
  OptionTable table{
      {"PLAN", OptionKind::positional, "PLAN", "",
       "dispatch plans of a group, a routing recording, a dispatcher's recordings, or a rebalance plan; with "
       "--validate calibration files",
       true}};
  for (OptionSpec const& option : timing_options()) table.push_back(option);
  table.push_back({"validate", OptionKind::flag, "", "", "hold out measurements and say how far predictions are off"});
  table.push_back({"no-sensitivity", OptionKind::flag, "", "",
                   "do not vary every constant by 20 % to name those that the time hangs on"});
  table.push_back({"all-phases", OptionKind::flag, "", "", "show every phase in the table"});
  table.push_back({"cluster-out", OptionKind::optional, "FILE", "", "also write the cluster as a file, to change it"});
  table.push_back({"trace", OptionKind::optional, "FILE", "", "also write the phases for Perfetto (JSON)"});
  table.push_back({"html", OptionKind::optional, "FILE", "", "also write a report with drawings, one file"});
  table.push_back(
      {"format", OptionKind::optional, "table|json|csv", "table", "what to print; csv: one line per phase"});
  return table;
}

}  // namespace

Command simulate_command() {
  return {"simulate",
          "times a plan on a cluster that need not exist",
          fmt::format(
              "Takes the exact bytes of every pair from the plans of a dispatch group, a routing or a rebalance plan,\n"
              "puts them on the links of a cluster, and prints what every phase costs, what binds it, and which\n"
              "constants the time hangs on. Fidelity t0 is a lower bound, t1 shares links max-min fairly,\n"
              "t1-first-order does so once for all flows and hands nothing on (seconds for 65,536 ranks), t2 moves\n"
              "chunks (up to 256 ranks). Phases follow each other; `switchyard trace` overlaps them. Clusters:\n"
              "{}, or a file (docs/formats/topology.md).\n"
              "With --costs measured times stand for the links inside a node (docs/simulator.md).\n",
              fmt::join(sim::cluster_preset_names(), ", ")),
          simulate_options(),
          {"switchyard simulate group.jsonl --cluster dgx-h100",
           "switchyard simulate routing.jsonl --ranks 16 --dedup per_node --cluster dgx-h100 --no-sensitivity",
           "switchyard simulate plan.json --cluster dgx-h100 --trace trace.json --html report.html",
           "switchyard simulate --validate nccl_alltoall.csv deepep_ll.csv"},
          run_simulate};
}

}  // namespace switchyard::cli
