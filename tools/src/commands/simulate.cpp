// SPDX-License-Identifier: Apache-2.0
// switchyard simulate: what a dispatch or a rebalance costs on a cluster, from the plan itself.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "commands/commands.hpp"
#include "commands/simulate_inputs.hpp"
#include "commands/simulate_report.hpp"
#include "commands/simulate_validation.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::cli {
namespace {

constexpr double kVariation = 0.2;

ExitCode run_simulate(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  auto const files = options.list("PLAN");
  if (options.has("validate")) return run_validation(files, json);
  if (files.size() != 1) throw UsageError("several plans: `switchyard compare` takes two, simulate one");
  PlanFile const plans = read_plans(files.front());
  SimulateReport report;
  report.plan_name = files.front();
  report.plan_kind = plans.rebalance ? "rebalance" : "dispatch";
  report.plan_digest = digest_text(plans);
  report.cluster = cluster_of(options, ranks_of(plans));
  report.fidelity = fidelity_of(options);
  report.all_phases = options.has("all-phases");
  auto const model = model_of(options);
  auto const phases = phases_of(plans, options);
  auto const costs = costs_of(options);
  report.curves = costs.alltoall;
  report.cluster_digest = sim::ClusterTopology(report.cluster).fingerprint().to_hex();
  report.cost = time_plan(plans, report.cluster, phases, *model, costs);
  if (options.has("sensitivity")) {
    if (!costs.alltoall.empty()) throw UsageError("--sensitivity varies the cluster's constants: leave out --costs");
    report.sensitivities = sim::sensitivities(report.cluster, phases, *model, kVariation);
  }
  if (options.has("cluster-out")) io::write_file_atomically(options.text("cluster-out"), to_json(report.cluster));
  fmt::print("{}", json ? to_json(report) : to_table(report));
  return ExitCode::ok;
}

OptionTable simulate_options() {
  OptionTable table{{"PLAN", OptionKind::positional, "PLAN", "",
                     "dispatch plans of a group, or a rebalance plan; with --validate calibration files", true}};
  for (OptionSpec const& option : timing_options()) table.push_back(option);
  table.push_back({"validate", OptionKind::flag, "", "", "hold out measurements and say how far predictions are off"});
  table.push_back({"sensitivity", OptionKind::flag, "", "", "vary every constant by 20 % and name those that matter"});
  table.push_back({"all-phases", OptionKind::flag, "", "", "show every phase in the table"});
  table.push_back({"cluster-out", OptionKind::optional, "FILE", "", "also write the cluster as a file, to change it"});
  table.push_back(format_option());
  return table;
}

}  // namespace

Command simulate_command() {
  return {"simulate",
          "times a plan on a cluster that need not exist",
          fmt::format(
              "Takes the exact bytes of every pair from the plans of a dispatch group or from a rebalance plan, puts\n"
              "them on the links of a cluster, and prints what every phase costs and what binds it. Fidelity t0 is a\n"
              "lower bound, t1 shares links max-min fairly, t2 moves chunks (up to 256 ranks). Phases follow each\n"
              "other. Clusters: {}, or a file (docs/formats/topology.md).\n"
              "With --costs measured times stand for the links inside a node (docs/simulator.md).\n",
              fmt::join(sim::cluster_preset_names(), ", ")),
          simulate_options(),
          {"switchyard simulate group.jsonl --cluster dgx-h100",
           "switchyard simulate plan.json --cluster dgx-h100 --sensitivity",
           "switchyard simulate --validate nccl_alltoall.csv deepep_ll.csv"},
          run_simulate};
}

}  // namespace switchyard::cli
