// SPDX-License-Identifier: Apache-2.0
// switchyard simulate: what a dispatch or a rebalance costs on a cluster, from the plan itself.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "commands/commands.hpp"
#include "commands/inspect_report.hpp"
#include "commands/plan_file.hpp"
#include "commands/simulate_report.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::cli {
namespace {

constexpr int kMaxNodes = 1 << 20;
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 40;
constexpr std::int64_t kDeepSeekRowBytes = 7168 * 2;
constexpr std::int64_t kDeepSeekExpertBytes = 42 << 20;
constexpr double kVariation = 0.2;

int ranks_of(PlanFile const& plans) {
  if (plans.rebalance) return plans.rebalance->after.num_ranks();
  return plans.dispatch.front().setup.grid.world();
}

std::string cluster_text(std::string const& file) {
  try {
    return io::read_file(file);
  } catch (Error const& error) {
    throw UsageError(fmt::format("--cluster {} is no preset ({}), and as a file: {}", file,
                                 fmt::join(sim::cluster_preset_names(), ", "), error.message()));
  }
}

/// A preset by name, as many nodes as the plan's ranks fill unless told; or a file.
sim::ClusterSpec cluster_of(ParsedOptions const& options, int ranks) {
  std::string const name = options.text("cluster");
  auto const presets = sim::cluster_preset_names();
  if (std::find(presets.begin(), presets.end(), name) == presets.end()) {
    auto const spec = sim::cluster_spec_from_json(cluster_text(name), name);
    if (options.has("nodes")) throw UsageError("--nodes is for presets: the cluster file says how many nodes it has");
    return spec;
  }
  int const per_node = sim::cluster_preset(name, 1).gpus_per_node;
  int const nodes = options.has("nodes") ? options.small_integer("nodes", 1, kMaxNodes) : (ranks - 1) / per_node + 1;
  return sim::cluster_preset(name, nodes);
}

sim::Fidelity fidelity_of(ParsedOptions const& options) {
  std::string const name = options.choice("fidelity", {"t0", "t1", "t2"});
  return name == "t0" ? sim::Fidelity::t0 : name == "t1" ? sim::Fidelity::t1 : sim::Fidelity::t2;
}

std::vector<sim::TrafficPhase> phases_of(PlanFile const& plans, ParsedOptions const& options) {
  if (plans.rebalance) return sim::rebalance_traffic(*plans.rebalance, options.integer("expert-bytes", 1, kMaxBytes));
  std::int64_t const row_bytes = options.integer("row-bytes", 1, kMaxBytes);
  auto phases = sim::dispatch_traffic(plans.dispatch, row_bytes);
  for (auto& phase : phases) phase.name = "dispatch: " + phase.name;
  for (auto& phase : sim::combine_traffic(plans.dispatch, row_bytes)) {
    phase.name = "combine: " + phase.name;
    phases.push_back(std::move(phase));
  }
  return phases;
}

PlanFile read_plans(std::string const& file) {
  PlanFile plans = plan_file_of(io::read_file(file), file);
  if (!plans.rebalance && !plans.group && ranks_of(plans) > 1)
    throw UsageError(
        fmt::format("{} holds the plan of one rank of {}: give the file with all ranks' plans", file, ranks_of(plans)));
  InspectReport report;
  report.dispatch = plans.dispatch;
  report.rebalance = plans.rebalance;
  report.group = plans.group;
  find_violations(report);
  if (!report.violations.empty())
    throw UsageError(fmt::format("{} breaks {} rule(s), first {}; `switchyard inspect` lists them", file,
                                 report.violations.size(), report.violations.front()));
  return plans;
}

ExitCode run_simulate(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  PlanFile const plans = read_plans(options.text("PLAN"));
  SimulateReport report;
  report.plan_name = options.text("PLAN");
  report.plan_kind = plans.rebalance ? "rebalance" : "dispatch";
  report.plan_digest = (plans.rebalance ? plans.rebalance->fingerprint() : digest_of(plans.dispatch)).to_hex();
  report.cluster = cluster_of(options, ranks_of(plans));
  report.fidelity = fidelity_of(options);
  report.all_phases = options.has("all-phases");
  sim::NetworkModelOptions model_options;
  model_options.merge_fraction = options.number("merge", 0, 0.5);
  model_options.chunk_bytes = options.integer("chunk-bytes", 1, kMaxBytes);
  auto const model = sim::make_network_model(report.fidelity, model_options);
  auto const phases = phases_of(plans, options);
  sim::ClusterTopology const topology(report.cluster);
  report.cluster_digest = topology.fingerprint().to_hex();
  report.cost = sim::cost_of(topology, phases, *model);
  if (options.has("sensitivity")) report.sensitivities = sim::sensitivities(report.cluster, phases, *model, kVariation);
  if (options.has("cluster-out")) io::write_file_atomically(options.text("cluster-out"), to_json(report.cluster));
  fmt::print("{}", json ? to_json(report) : to_table(report));
  return ExitCode::ok;
}

}  // namespace

Command simulate_command() {
  return {"simulate",
          "times a plan on a cluster that need not exist",
          fmt::format(
              "Takes the exact bytes of every pair from the plans of a dispatch group or from a rebalance plan, puts\n"
              "them on the links of a cluster, and prints what every phase costs and what binds it. Fidelity t0 is a\n"
              "lower bound, t1 shares links max-min fairly, t2 moves chunks (up to 256 ranks). Phases follow each\n"
              "other. Clusters: {}, or a file (docs/formats/topology.md).\n",
              fmt::join(sim::cluster_preset_names(), ", ")),
          {{"PLAN", OptionKind::positional, "PLAN", "", "dispatch plans of a group, or a rebalance plan"},
           {"cluster", OptionKind::required, "NAME|FILE", "", "preset or cluster file"},
           {"nodes", OptionKind::optional, "N", "", "nodes of a preset; without it as many as the plan's ranks fill"},
           {"fidelity", OptionKind::optional, "t0|t1|t2", "t1", "how the network is modelled"},
           {"row-bytes", OptionKind::optional, "BYTES", fmt::format("{}", kDeepSeekRowBytes),
            "one token row of a dispatch; the default is hidden 7168 in bf16"},
           {"expert-bytes", OptionKind::optional, "BYTES", fmt::format("{}", kDeepSeekExpertBytes),
            "weights of one expert of one layer, for a rebalance"},
           {"merge", OptionKind::optional, "FRACTION", "0",
            "t1: end flows together that end within this part of the lower bound; the error is in the JSON"},
           {"chunk-bytes", OptionKind::optional, "BYTES", "65536", "t2: what is stored and forwarded as one"},
           {"sensitivity", OptionKind::flag, "", "", "vary every constant by 20 % and name those that matter"},
           {"all-phases", OptionKind::flag, "", "", "show every phase in the table"},
           {"cluster-out", OptionKind::optional, "FILE", "", "also write the cluster as a file, to change it"},
           format_option()},
          {"switchyard simulate group.jsonl --cluster dgx-h100",
           "switchyard simulate plan.json --cluster dgx-h100 --sensitivity"},
          run_simulate};
}

}  // namespace switchyard::cli
