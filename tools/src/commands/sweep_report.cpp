// SPDX-License-Identifier: Apache-2.0
#include "commands/sweep_report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/table.hpp"

namespace switchyard::cli {
namespace {

/// "nic_out of NIC 3" is of class "nic_out": which NIC it is may change with every value.
std::string class_of_bottleneck(std::string const& name) {
  return name.empty() ? "latency and messages" : name.substr(0, name.find(" of "));
}

std::string letter_of(std::size_t plan) {
  return plan == 0 ? "A" : "B";
}

std::string sentence_of(SweepReport const& report, VerdictChange const& change) {
  std::string const what = report.plans.size() == 2 ? "the faster plan" : "what binds the longest phase";
  return fmt::format("{} changes from {} to {} between {} = {:.6g} and {:.6g}", what, change.from, change.to,
                     report.constant, change.below, change.above);
}

}  // namespace

std::string verdict_of(std::span<sim::PlanCost const> costs) {
  if (costs.size() == 2) {
    if (costs[0].time_us == costs[1].time_us) return "equal";
    return letter_of(costs[0].time_us < costs[1].time_us ? 0 : 1);
  }
  auto const& phases = costs.front().phases;
  auto const longest =
      std::max_element(phases.begin(), phases.end(),
                       [](sim::PhaseCost const& a, sim::PhaseCost const& b) { return a.time_us < b.time_us; });
  return longest == phases.end() ? class_of_bottleneck("") : class_of_bottleneck(longest->bottleneck);
}

std::string to_table(SweepReport const& report) {
  bool const two = report.plans.size() == 2;
  std::vector<std::string> header{report.constant};
  for (std::size_t i = 0; i < report.plans.size(); ++i) {
    header.push_back(two ? fmt::format("{} us", letter_of(i)) : "time us");
    header.push_back(two ? fmt::format("{} bound us", letter_of(i)) : "bound us");
  }
  header.push_back(two ? "faster" : "binds");
  TextTable table(header);
  for (SweepPoint const& point : report.points) {
    std::vector<std::string> cells{fmt::format("{:.6g}", point.value)};
    for (sim::PlanCost const& cost : point.costs) {
      cells.push_back(fmt::format("{:.1f}", cost.time_us));
      cells.push_back(fmt::format("{:.1f}", cost.lower_bound_us));
    }
    cells.push_back(point.verdict);
    table.add_row(cells);
  }
  std::string text = fmt::format("cluster  {}\n", report.cluster);
  for (std::size_t i = 0; i < report.plans.size(); ++i)
    text += fmt::format("plan{}    {}\n", two ? fmt::format(" {}", letter_of(i)) : "  ", report.plans[i]);
  text += fmt::format("\n{}\n", table.str());
  for (VerdictChange const& change : report.changes) text += sentence_of(report, change) + "\n";
  if (report.changes.empty())
    text += fmt::format("one verdict over the whole range: {}\n", report.points.front().verdict);
  return text;
}

std::string to_json(SweepReport const& report) {
  nlohmann::ordered_json root{
      {"schema_version", 1}, {"plans", report.plans}, {"cluster", report.cluster}, {"constant", report.constant}};
  root["points"] = nlohmann::ordered_json::array();
  for (SweepPoint const& point : report.points) {
    nlohmann::ordered_json one{{"value", point.value}, {"plans", nlohmann::ordered_json::array()}};
    for (sim::PlanCost const& cost : point.costs)
      one["plans"].push_back({{"time_us", cost.time_us}, {"lower_bound_us", cost.lower_bound_us}});
    one["verdict"] = point.verdict;
    root["points"].push_back(one);
  }
  root["changes"] = nlohmann::ordered_json::array();
  for (VerdictChange const& change : report.changes)
    root["changes"].push_back(
        {{"below", change.below}, {"above", change.above}, {"from", change.from}, {"to", change.to}});
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string to_csv(SweepReport const& report) {
  std::string text = report.constant;
  for (std::size_t i = 0; i < report.plans.size(); ++i)
    text += fmt::format(",{0}_time_us,{0}_lower_bound_us", i == 0 ? "a" : "b");
  text += ",verdict\n";
  for (SweepPoint const& point : report.points) {
    text += fmt::format("{}", point.value);
    for (sim::PlanCost const& cost : point.costs) text += fmt::format(",{},{}", cost.time_us, cost.lower_bound_us);
    text += fmt::format(",{}\n", point.verdict);
  }
  return text;
}

}  // namespace switchyard::cli
