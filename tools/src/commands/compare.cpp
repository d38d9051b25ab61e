// SPDX-License-Identifier: Apache-2.0
// switchyard compare: which of two plans takes less time on a cluster, and where the difference is.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "commands/simulate_inputs.hpp"

namespace switchyard::cli {
namespace {

struct Side {
  std::string name;
  std::string digest;
  sim::PlanCost cost;
};

std::vector<Side> time_both(std::vector<std::string> const& files, ParsedOptions const& options) {
  if (files.size() != 2) throw UsageError(fmt::format("{} plan(s): compare takes two", files.size()));
  PlanFile const plans[] = {read_plans(files[0]), read_plans(files[1])};
  if (plans[0].rebalance.has_value() != plans[1].rebalance.has_value())
    throw UsageError("one plan is a dispatch, the other a rebalance: their times do not compare");
  auto const cluster = cluster_of(options, std::max(ranks_of(plans[0]), ranks_of(plans[1])));
  auto const model = model_of(options);
  auto const costs = costs_of(options);
  std::vector<Side> sides;
  for (std::size_t i = 0; i < files.size(); ++i)
    sides.push_back(
        {files[i], digest_text(plans[i]), time_plan(plans[i], cluster, phases_of(plans[i], options), *model, costs)});
  return sides;
}

/// Time of phases by name, phases of equal name together.
std::map<std::string, double> us_by_phase(Side const& side) {
  std::map<std::string, double> us;
  for (auto const& phase : side.cost.phases) us[phase.name] += phase.time_us;
  return us;
}

std::string to_table(std::vector<Side> const& sides) {
  auto first = us_by_phase(sides[0]), second = us_by_phase(sides[1]);
  for (auto const& [name, us] : first) second.try_emplace(name, 0.0);
  TextTable table({"phase", "A us", "B us", "B - A us"});
  auto const add = [&](std::string const& name, double a, double b) {
    table.add_row({name, fmt::format("{:.1f}", a), fmt::format("{:.1f}", b), fmt::format("{:+.1f}", b - a)});
  };
  for (auto const& [name, us] : second) add(name, first[name], us);
  double const a = sides[0].cost.time_us, b = sides[1].cost.time_us;
  add("total", a, b);
  std::string const verdict =
      a == b ? "both take the same time"
             : fmt::format("{} is faster, by {:.1f} %", a < b ? "A" : "B", 100 * (1 - std::min(a, b) / std::max(a, b)));
  return fmt::format("A  {}, digest {}\nB  {}, digest {}\n\n{}\n{}\n", sides[0].name, sides[0].digest, sides[1].name,
                     sides[1].digest, table.str(), verdict);
}

std::string to_json(std::vector<Side> const& sides) {
  nlohmann::ordered_json root{{"schema_version", 1}, {"plans", nlohmann::ordered_json::array()}};
  for (Side const& side : sides)
    root["plans"].push_back({{"plan", side.name},
                             {"digest", side.digest},
                             {"time_us", side.cost.time_us},
                             {"lower_bound_us", side.cost.lower_bound_us}});
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

ExitCode run_compare(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  auto const sides = time_both(options.list("PLAN"), options);
  fmt::print("{}", json ? to_json(sides) : to_table(sides));
  return ExitCode::ok;
}

OptionTable compare_options() {
  OptionTable table{{"PLAN", OptionKind::positional, "PLAN", "", "two plans of one kind: A, then B", true}};
  for (OptionSpec const& option : timing_options()) table.push_back(option);
  table.push_back(format_option());
  return table;
}

}  // namespace

Command compare_command() {
  return {"compare",
          "says which of two plans is faster on a cluster",
          "Times two dispatch groups or two rebalance plans as `switchyard simulate` does, on the same cluster, and\n"
          "prints where they differ. How far to trust a difference: docs/simulator.md.\n",
          compare_options(),
          {"switchyard compare before.jsonl after.jsonl --cluster dgx-h100"},
          run_compare};
}

}  // namespace switchyard::cli
