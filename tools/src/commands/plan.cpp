// SPDX-License-Identifier: Apache-2.0
// switchyard plan: loads in; a placement, a proven transfer plan and its price out.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

#include "cli/progress.hpp"
#include "commands/commands.hpp"
#include "commands/plan_report.hpp"
#include "html/plan_page.hpp"
#include "planning/bounds_section.hpp"
#include "planning/explain_section.hpp"
#include "planning/horizon_section.hpp"
#include "planning/policy_choice.hpp"
#include "planning/sweep.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/types/version.hpp"

namespace switchyard::cli {
namespace {

OptionTable joined(std::initializer_list<OptionTable> tables) {
  OptionTable all;
  for (OptionTable const& table : tables) all.insert(all.end(), table.begin(), table.end());
  return all;
}

PlanReport make_report(PlanInputs const& inputs, PolicyChoice const& choice, PlannedMove const& move) {
  PlanReport report;
  report.load_name = inputs.load_name;
  report.source = inputs.source;
  report.policy = choice.name;
  report.policy_note = choice.note;
  report.before = judge(inputs.source.load, inputs.before, inputs.request);
  report.after = judge(inputs.source.load, choice.after, inputs.request);
  report.totals = totals(move.plan);
  report.moves = moves_per_layer(move.plan);
  report.expert_bytes = inputs.expert_bytes;
  report.num_ranks = inputs.request.num_ranks;
  report.num_slots = inputs.request.num_slots;
  report.fingerprint = move.plan.fingerprint().to_hex();
  report.reloads = static_cast<std::int64_t>(move.reloads.size());
  if (choice.comparison) report.comparison = *choice.comparison;
  return report;
}

void add_sections(ParsedOptions const& options, PlanInputs const& inputs, ExpertPlacement const& after,
                  RebalancePlan const& plan, PlanReport& report) {
  bool const full = options.choice("bounds", {"quick", "full"}) == "full";
  report.sections.push_back(bounds_section(inputs, after, plan, full));
  double const row_ns = options.number("row-ns", 1e-6, 1e12);
  if (options.has("horizon"))
    report.sections.push_back(horizon_section(inputs, after, {options.number("horizon", 1e-9, 1e15), row_ns}));
  if (options.has("explain")) {
    auto const which = parse_explained(options.text("explain"), after.num_layers(), after.num_experts());
    report.sections.push_back(explain_section(inputs, after, plan, which));
  }
}

ExitCode run_plan_sweep(ParsedOptions const& options, bool json) {
  for (char const* other : {"out", "current", "slots", "slots-per-gpu", "explain", "horizon"})
    if (options.has(other))
      throw UsageError(fmt::format("--{} has no meaning with --sweep: leave one of them out", other));
  SweepGrid grid = parse_sweep(options.text("sweep"));
  std::map<std::string, std::string> sizes{{"slots", fmt::format("{}", grid.slots.front())},
                                           {"objective", options.text("objective")}};
  for (char const* name : {"nodes", "groups", "max-nodes-per-group", "max-nodes-per-expert", "window"})
    if (options.has(name)) sizes[name] = options.text(name);
  if (grid.gpus.empty() && options.has("gpus")) grid.gpus.push_back(options.integer("gpus", 1, kMaxRanks));
  if (grid.gpus.empty()) throw UsageError("--sweep has no GPUs: give gpus=... in it, or --gpus G");
  for (char const* name : {"speeds", "dead"})
    if (options.has(name))
      throw UsageError(fmt::format("--{} names single GPUs, which a sweep over sizes has not", name));
  sizes["gpus"] = fmt::format("{}", grid.gpus.front());
  PolicyRequest const base = request_of(ParsedOptions(sizes));
  auto const policy = make_policy(options.choice("policy", policy_names()));
  auto const source = io::read_expert_load(options.text("load"), options.small_integer("experts", 1, kMaxSlots));
  auto const rows =
      run_sweep(*policy, source.load, base, grid, options.integer("expert-bytes", 0, std::int64_t{1} << 40));
  fmt::print("{}", json ? sweep_json(rows, policy->name()) : sweep_table(rows));
  return ExitCode::ok;
}

/// The curve is the incremental policy's, whichever made the plan; it cannot start from other GPUs.
void write_page(ParsedOptions const& options, PlanInputs const& inputs, PolicyChoice const& choice,
                RebalancePlan const& plan, PlanReport const& report) {
  html::PlanPage page{report, inputs, choice.after, plan, choice.pareto};
  if (page.pareto.empty() && inputs.mapping.mode == ScaleMode::none)
    page.pareto = pareto_of(run_incremental(options, inputs));
  io::write_file_atomically(options.text("html"), html::plan_page(page));
}

ExitCode run_plan(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  if (options.has("sweep")) return run_plan_sweep(options, json);
  std::optional<Progress> progress(std::in_place, "plan", 4);
  PlanInputs const inputs = read_inputs(options);
  progress->set(1);
  PolicyChoice const choice = choose_policy(options, inputs);
  progress->set(2);
  PlannedMove const move = plan_move(inputs, choice.after);
  require_valid(move.plan);
  progress->set(3);
  PlanReport report = make_report(inputs, choice, move);
  if (choice.duplicates) report.sections.push_back(*choice.duplicates);
  add_sections(options, inputs, choice.after, move.plan, report);
  if (options.has("pareto")) report.sections.push_back(pareto_section(choice.pareto, inputs.expert_bytes));
  if (options.has("out")) {
    report.out = options.text("out");
    io::PlanNotes const notes{"switchyard " SWITCHYARD_VERSION_STRING, report.policy, report.load_name};
    io::write_file_atomically(report.out, io::to_json(move.plan, notes));
  }
  if (options.has("html")) write_page(options, inputs, choice, move.plan, report);
  progress.reset();
  fmt::print("{}", json ? to_json(report) : to_table(report, options.has("all-layers")));
  return ExitCode::ok;
}

}  // namespace

Command plan_command() {
  OptionTable const own = {
      {"current", OptionKind::optional, "FILE", "",
       "placement being served, in any format that docs/formats/placements.md lists; without it slot i holds expert i "
       "mod E"},
      {"current-gpus", OptionKind::optional, "G", "",
       "GPUs of --current where its file does not say and it differs from --gpus"},
      {"scale", OptionKind::optional, "none|up|down", "none", "GPUs join (the last ones) or leave with this move"},
      {"leave", OptionKind::optional, "LIST", "", "with --scale down: the GPUs that leave; the last ones by default"},
      {"lost", OptionKind::optional, "LIST", "", "with --scale down: leaving GPUs that are dead and can send nothing"},
      {"policy", OptionKind::optional, "NAME", "deepseek",
       "how experts are placed; all compares every policy and takes the best"},
      {"window", OptionKind::optional, "NAME", "sum",
       "how steps become one load: sum, mean, mean+X deviations, pX percentile"},
      {"bounds", OptionKind::optional, "quick|full", "quick", "full adds the max-flow and assignment bounds"},
      {"horizon", OptionKind::optional, "N", "",
       "apply or skip: windows like the load that the new placement will serve"},
      {"explain", OptionKind::optional, "LIST", "", "why these moved: LAYER:EXPERT,..."},
      {"sweep", OptionKind::optional, "GRID", "", "a table over sizes instead of a plan: slots=256..320/32,gpus=32,64"},
      {"all-layers", OptionKind::flag, "", "", "show every layer in the table"},
      format_option(),
      {"html", OptionKind::optional, "FILE", "", "report with drawings to write: one file, readable without a network"},
      {"out", OptionKind::optional, "FILE", "", "plan file to write, replaced as a whole; without it only the report"}};
  return {
      "plan",
      "plans an expert rebalance from measured loads",
      fmt::format(
          "Reads loads in any known format, places the experts with a policy, plans every copy from the current\n"
          "placement, proves the plan, prints its worth and price, and writes it.\n"
          "Policies: {}.\n",
          fmt::join(policy_choices(), ", ")),
      joined({load_options(), cluster_options(), own, incremental_options(), price_options()}),
      {"switchyard plan --load load.json --experts 256 --gpus 32 --slots 288 --nodes 4 --groups 8 --out plan.json",
       "switchyard plan --load load.json --experts 256 --gpus 32 --slots 288 --policy all --bounds full --horizon 600",
       "switchyard plan --load load.json --experts 256 --sweep slots=256..320/32,gpus=32,64",
       "switchyard plan --load load.json --experts 256 --gpus 40 --slots 360 --current plan.json --scale up --out "
       "up.json"},
      run_plan};
}

}  // namespace switchyard::cli
