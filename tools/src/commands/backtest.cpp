// SPDX-License-Identifier: Apache-2.0
// switchyard backtest: a recorded load over time through policy and execution: balance and bytes, step by step.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/progress.hpp"
#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "planning/policy_choice.hpp"
#include "switchyard/cpu/rehearsal.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::cli {
namespace {

constexpr std::size_t kShownSteps = 40;

struct BacktestTerms {
  int every = 1;   ///< steps between rebalances
  int memory = 1;  ///< steps that a policy sees
  bool execute = true;
};

/// What one step saw and did.
struct StepResult {
  double mean_par = 0;
  double max_par = 0;
  double untouched_par = 0;  ///< mean PAR of the first placement, never changed
  std::int64_t fetches = 0;
  std::int64_t rows_checked = 0;  ///< rows that emulated ranks moved and compared
  bool rebalanced = false;
};

ExpertLoad steps_of(ExpertLoad const& load, int first, int count) {
  auto const per_step = static_cast<std::ptrdiff_t>(load.num_layers()) * load.num_experts();
  auto const begin = load.values().begin() + first * per_step;
  return {count, load.num_layers(), load.num_experts(), std::vector<double>(begin, begin + count * per_step)};
}

/// Carries the move out on emulated ranks. @throws Error{corrupt_data} naming the first wrong byte.
std::int64_t execute(RebalancePlan const& plan, int step) {
  cpu::RehearsalOptions options;
  options.tensor_row_bytes = {16};
  std::string const name = fmt::format("the plan of step {}", step);
  cpu::RehearsalReport const report = cpu::rehearse(io::to_json(plan), name, options);
  if (!report.passed()) throw Error(ErrorCode::corrupt_data, fmt::format("{}: {}", name, report.first_mismatch->text));
  return report.rows_checked;
}

/// Plans on the last steps and moves on to the new placement.
void rebalance(ParsedOptions const& options, BacktestTerms const& terms, ExpertLoad const& trace, int step,
               PlanInputs& inputs, StepResult& result) {
  int const seen = std::min(terms.memory, step + 1);
  inputs.source.load = steps_of(trace, step + 1 - seen, seen);
  ExpertPlacement after = choose_policy(options, inputs).after;
  PlannedMove const move = plan_move(inputs, after);
  require_valid(move.plan);
  result.rebalanced = true;
  result.fetches = totals(move.plan).network_copies;
  if (terms.execute) result.rows_checked = execute(move.plan, step);
  inputs.before = std::move(after);
}

std::vector<StepResult> run_trace(ParsedOptions const& options, BacktestTerms const& terms, PlanInputs inputs) {
  ExpertLoad const trace = inputs.source.load;
  ExpertPlacement const start = inputs.before;
  std::vector<StepResult> results;
  Progress progress("backtest", trace.num_steps());
  for (int step = 0; step < trace.num_steps(); ++step) {
    ExpertLoad const now = steps_of(trace, step, 1);
    StepResult& result = results.emplace_back();
    ImbalanceReport const report = judge(now, inputs.before, inputs.request);
    result.mean_par = report.mean_par;
    result.max_par = report.max_par;
    result.untouched_par = judge(now, start, inputs.request).mean_par;
    bool const last = step + 1 == trace.num_steps();
    if (!last && (step + 1) % terms.every == 0) rebalance(options, terms, trace, step, inputs, result);
    progress.set(step + 1);
  }
  return results;
}

struct Summary {
  double mean_par = 0;
  double untouched_par = 0;
  std::int64_t fetches = 0;
  std::int64_t rows_checked = 0;
  int rebalances = 0;
};

Summary summarise(std::vector<StepResult> const& steps) {
  Summary sum;
  auto const count = static_cast<double>(steps.size());
  for (StepResult const& step : steps) {
    sum.mean_par += step.mean_par / count;
    sum.untouched_par += step.untouched_par / count;
    sum.fetches += step.fetches;
    sum.rows_checked += step.rows_checked;
    sum.rebalances += step.rebalanced ? 1 : 0;
  }
  return sum;
}

std::string to_table(std::vector<StepResult> const& steps, std::string const& policy, std::int64_t expert_bytes) {
  TextTable table({"step", "mean PAR", "worst layer", "never moved", "fetches after it", "bytes"});
  std::size_t const shown = std::min(steps.size(), kShownSteps);
  for (std::size_t i = 0; i < shown; ++i)
    table.add_row({fmt::format("{}", i), fmt::format("{:.4f}", steps[i].mean_par),
                   fmt::format("{:.4f}", steps[i].max_par), fmt::format("{:.4f}", steps[i].untouched_par),
                   steps[i].rebalanced ? grouped(steps[i].fetches) : "-",
                   steps[i].rebalanced ? human_bytes(steps[i].fetches * expert_bytes) : "-"});
  Summary const sum = summarise(steps);
  std::string text = table.str();
  if (shown < steps.size())
    text += fmt::format("(the first {} steps of {}; --format json has all)\n", shown, steps.size());
  text += fmt::format("\npolicy     {}: mean PAR {:.4f} over the steps; the first placement kept: {:.4f}\n", policy,
                      sum.mean_par, sum.untouched_par);
  text += fmt::format("moved      {} experts ({}) in {} rebalances\n", grouped(sum.fetches),
                      human_bytes(sum.fetches * expert_bytes), sum.rebalances);
  text += sum.rows_checked > 0
              ? fmt::format("executed   on emulated ranks, {} rows compared byte for byte\n", grouped(sum.rows_checked))
              : std::string("executed   nothing\n");
  return text;
}

std::string to_json_report(std::vector<StepResult> const& steps, std::string const& policy, std::int64_t expert_bytes) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (StepResult const& step : steps)
    list.push_back({{"mean_par", step.mean_par},
                    {"max_par", step.max_par},
                    {"never_moved_par", step.untouched_par},
                    {"rebalanced", step.rebalanced},
                    {"fetches", step.fetches},
                    {"bytes", step.fetches * expert_bytes},
                    {"rows_checked", step.rows_checked}});
  Summary const sum = summarise(steps);
  nlohmann::ordered_json const root{{"schema_version", 1},          {"policy", policy},
                                    {"mean_par", sum.mean_par},     {"never_moved_par", sum.untouched_par},
                                    {"fetches", sum.fetches},       {"bytes", sum.fetches * expert_bytes},
                                    {"rebalances", sum.rebalances}, {"steps", list}};
  return root.dump(2) + "\n";
}

ExitCode run_backtest(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  BacktestTerms terms;
  terms.every = options.small_integer("every", 1, 1 << 20);
  terms.memory = options.has("memory") ? options.small_integer("memory", 1, 1 << 20) : terms.every;
  terms.execute = !options.has("skip-execution");
  PlanInputs const inputs = read_inputs(options);
  int const steps = inputs.source.load.num_steps();
  if (steps < 2)
    throw UsageError(
        fmt::format("{} has {} step: a backtest needs loads over time, such as switchyard generate load "
                    "--steps 20 --drift 0.2 writes",
                    inputs.load_name, steps));
  auto const results = run_trace(options, terms, inputs);
  std::string const policy = options.text("policy");
  fmt::print("{}", json ? to_json_report(results, policy, inputs.expert_bytes)
                        : to_table(results, policy, inputs.expert_bytes));
  return ExitCode::ok;
}

}  // namespace

Command backtest_command() {
  OptionTable options = load_options();
  OptionTable const own = {
      {"current", OptionKind::optional, "FILE", "",
       "placement of the first step; without it slot i holds expert i mod E"},
      {"policy", OptionKind::optional, "NAME", "deepseek", "as in switchyard plan"},
      {"window", OptionKind::optional, "NAME", "sum", "how the steps that the policy sees become one load"},
      {"every", OptionKind::optional, "N", "1", "steps between rebalances"},
      {"memory", OptionKind::optional, "N", "", "steps that the policy sees; --every by default"},
      {"skip-execution", OptionKind::flag, "", "", "do not carry the moves out on emulated ranks"}};
  for (OptionTable const& table : {cluster_options(), own, incremental_options(), price_options()})
    for (OptionSpec const& option : table)
      if (option.name != "pareto") options.push_back(option);
  options.push_back(format_option());
  return {"backtest",
          "runs a load trace through policy and execution",
          fmt::format(
              "Every step is served by the placement that was planned from the steps before it; every move is proved\n"
              "and carried out on emulated ranks. Policies: {}.\n",
              fmt::join(policy_choices(), ", ")),
          options,
          {"switchyard backtest --load trace.json --experts 256 --gpus 32 --slots 288 --policy incremental --every 4"},
          run_backtest};
}

}  // namespace switchyard::cli
