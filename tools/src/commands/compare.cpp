// SPDX-License-Identifier: Apache-2.0
// switchyard compare: which of two plans takes less time on a cluster, where the difference is, and what it hangs on.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "timeline/timeline_inputs.hpp"

namespace switchyard::cli {
namespace {

/// Two times that differ by less than this part of the longer one are equal.
constexpr double kTie = 1e-9;

struct Side {
  std::string name;
  std::string digest;
  int ranks = 0;
  sim::PlanCost cost;
};

struct Comparison {
  std::vector<Side> sides;  // A, B
  std::vector<Variation> variations{};
};

/// @return "A" or "B", the faster one, or "equal".
std::string verdict_of(double a, double b) {
  if (std::abs(a - b) <= kTie * std::max(a, b)) return "equal";
  return a < b ? "A" : "B";
}
std::string verdict_of(std::vector<double> const& us) {
  return verdict_of(us[0], us[1]);
}
std::string verdict_of(Comparison const& comparison) {
  return verdict_of(comparison.sides[0].cost.time_us, comparison.sides[1].cost.time_us);
}

bool turns(Variation const& variation, std::string const& verdict) {
  return verdict_of(variation.lower_us) != verdict || verdict_of(variation.higher_us) != verdict;
}

/// How far apart two times are, in percent of the longer one; positive when B is faster.
double lead_percent(double a, double b) {
  return std::max(a, b) > 0 ? 100 * (a - b) / std::max(a, b) : 0;
}

void require_alike(TimedPlans const& a, TimedPlans const& b) {
  if (a.rebalance.has_value() != b.rebalance.has_value())
    throw UsageError("one plan is a dispatch, the other a rebalance: their times do not compare");
  if (ranks_of(a) != ranks_of(b))
    throw UsageError(fmt::format("the plans are of worlds of {} and {} ranks: compare plans of one world size",
                                 ranks_of(a), ranks_of(b)));
}

Comparison compare(std::vector<std::string> const& files, ParsedOptions const& options) {
  if (files.size() != 2) throw UsageError(fmt::format("{} plan(s): compare takes two", files.size()));
  TimedPlans const plans[] = {read_plans(files[0], options), read_plans(files[1], options)};
  require_alike(plans[0], plans[1]);
  TimingBasis const basis{cluster_of(options, ranks_of(plans[0])), costs_of(options), {}, workers_of(options)};
  require_fit(plans[0], files[0], basis.cluster);
  auto const model = model_of(options);
  Comparison comparison;
  std::vector<sim::TrafficPhase> phases[2];
  for (std::size_t i = 0; i < 2; ++i) {
    phases[i] = phases_of(plans[i], options, basis.cluster);
    comparison.sides.push_back({files[i], digest_text(plans[i]), ranks_of(plans[i]),
                                time_plan(plans[i], basis.cluster, phases[i], *model, basis.costs)});
  }
  if (!options.has("no-sensitivity"))
    comparison.variations = vary(basis, [&](TimingBasis const& one) {
      std::vector<double> us;
      for (std::size_t i = 0; i < 2; ++i)
        us.push_back(time_plan(plans[i], one.cluster, phases[i], *model, one.costs).time_us);
      return us;
    });
  return comparison;
}

/// Time of phases by name, phases of equal name together.
std::map<std::string, double> us_by_phase(Side const& side) {
  std::map<std::string, double> us;
  for (auto const& phase : side.cost.phases) us[phase.name] += phase.time_us;
  return us;
}

std::string phase_table(std::vector<Side> const& sides) {
  auto first = us_by_phase(sides[0]), second = us_by_phase(sides[1]);
  for (auto const& [name, us] : first) second.try_emplace(name, 0.0);
  TextTable table({"phase", "A us", "B us", "B - A us"});
  auto const add = [&](std::string const& name, double a, double b) {
    table.add_row({name, fmt::format("{:.1f}", a), fmt::format("{:.1f}", b), fmt::format("{:+.1f}", b - a)});
  };
  for (auto const& [name, us] : second) add(name, first[name], us);
  add("total", sides[0].cost.time_us, sides[1].cost.time_us);
  return table.str();
}

std::string lead_text(std::vector<double> const& us) {
  std::string const verdict = verdict_of(us);
  if (verdict == "equal") return "equal";
  return fmt::format("{} by {:.1f} %", verdict, std::abs(lead_percent(us[0], us[1])));
}

/// Which constants would turn the verdict; where none does, the one that comes nearest.
std::string fragility_text(Comparison const& comparison) {
  if (comparison.variations.empty()) return {};
  std::string const verdict = verdict_of(comparison);
  std::string text;
  Variation const* nearest = nullptr;
  double least = 1e300;
  for (Variation const& one : comparison.variations) {
    if (turns(one, verdict))
      text += fmt::format("  {:<34} -20 %: {}, +20 %: {}\n", one.constant, lead_text(one.lower_us),
                          lead_text(one.higher_us));
    double const lead = std::min(std::abs(lead_percent(one.lower_us[0], one.lower_us[1])),
                                 std::abs(lead_percent(one.higher_us[0], one.higher_us[1])));
    if (lead < least) nearest = &one, least = lead;
  }
  if (!text.empty()) return "the verdict depends on (20 % more or less of one constant turns it)\n" + text;
  return fmt::format(
      "the verdict holds with 20 % more or less of any constant; nearest to turning: {} (-20 %: {}, "
      "+20 %: {})\n",
      nearest->constant, lead_text(nearest->lower_us), lead_text(nearest->higher_us));
}

std::string to_table(Comparison const& comparison) {
  auto const& sides = comparison.sides;
  double const a = sides[0].cost.time_us, b = sides[1].cost.time_us;
  std::string const verdict = verdict_of(comparison);
  std::string const sentence = verdict == "equal"
                                   ? "both take the same time"
                                   : fmt::format("{} is faster, by {:.1f} %", verdict, std::abs(lead_percent(a, b)));
  return fmt::format("A  {}, digest {}\nB  {}, digest {}\n\n{}\n{}{}\n", sides[0].name, sides[0].digest, sides[1].name,
                     sides[1].digest, phase_table(sides), fragility_text(comparison), sentence);
}

std::string to_json(Comparison const& comparison) {
  auto const list = nlohmann::ordered_json::array();
  nlohmann::ordered_json root{{"schema_version", 1}, {"plans", list}};
  for (Side const& side : comparison.sides)
    root["plans"].push_back({{"plan", side.name},
                             {"digest", side.digest},
                             {"ranks", side.ranks},
                             {"time_us", side.cost.time_us},
                             {"lower_bound_us", side.cost.lower_bound_us}});
  std::string const verdict = verdict_of(comparison);
  root["verdict"] = verdict;
  root["b_faster_percent"] = lead_percent(comparison.sides[0].cost.time_us, comparison.sides[1].cost.time_us);
  root["verdict_depends_on"] = root["sensitivity_20_percent"] = list;
  for (Variation const& one : comparison.variations) {
    if (turns(one, verdict)) root["verdict_depends_on"].push_back(one.constant);
    root["sensitivity_20_percent"].push_back({{"constant", one.constant},
                                              {"lower_us", one.lower_us},
                                              {"higher_us", one.higher_us},
                                              {"lower_verdict", verdict_of(one.lower_us)},
                                              {"higher_verdict", verdict_of(one.higher_us)}});
  }
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

ExitCode run_compare(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  auto const comparison = compare(options.list("PLAN"), options);
  fmt::print("{}", json ? to_json(comparison) : to_table(comparison));
  return ExitCode::ok;
}

OptionTable compare_options() {
  OptionTable table{{"PLAN", OptionKind::positional, "PLAN", "", "two plans of one kind: A, then B", true}};
  for (OptionSpec const& option : timing_options()) table.push_back(option);
  table.push_back({"no-sensitivity", OptionKind::flag, "", "",
                   "do not vary every constant by 20 % to name those that would turn the verdict"});
  table.push_back(format_option());
  return table;
}

}  // namespace

Command compare_command() {
  return {"compare",
          "says which of two plans is faster on a cluster",
          "Times two dispatch groups, two routings or two rebalance plans as `switchyard simulate` does, on the same\n"
          "cluster, and prints where they differ, which is faster, and which constants, 20 % higher or lower, would\n"
          "turn that verdict. How far to trust a difference: docs/simulator.md.\n",
          compare_options(),
          {"switchyard compare before.jsonl after.jsonl --cluster dgx-h100"},
          run_compare};
}

}  // namespace switchyard::cli
