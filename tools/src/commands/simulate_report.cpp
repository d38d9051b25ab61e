// SPDX-License-Identifier: Apache-2.0
#include "commands/simulate_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cli/table.hpp"
#include "timeline/variations_report.hpp"

namespace switchyard::cli {
namespace {

constexpr std::size_t kPhasesShown = 8;

std::string us(double value) {
  return fmt::format("{:.1f}", value);
}

/// Numbers of the phases to show: the slowest ones, in plan order.
std::vector<std::size_t> shown_phases(SimulateReport const& report) {
  auto const& phases = report.cost.phases;
  std::vector<std::size_t> order(phases.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (report.all_phases || order.size() <= kPhasesShown) return order;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return phases[a].time_us > phases[b].time_us; });
  order.resize(kPhasesShown);
  std::sort(order.begin(), order.end());
  return order;
}

std::string phase_table(SimulateReport const& report) {
  TextTable table({"phase", "flows", "bytes", "local", "bound us", "time us", "bound by"});
  auto const shown = shown_phases(report);
  for (std::size_t const i : shown) {
    auto const& phase = report.cost.phases[i];
    table.add_row({phase.name, grouped(phase.flows), human_bytes(phase.bytes), human_bytes(phase.local_bytes),
                   us(phase.lower_bound_us), us(phase.time_us),
                   phase.bottleneck.empty() ? "one pair or messages" : phase.bottleneck});
  }
  std::string text = table.str();
  if (shown.size() < report.cost.phases.size())
    text += fmt::format("(the {} slowest of {} phases; --all-phases shows every one)\n", shown.size(),
                        report.cost.phases.size());
  return text;
}

std::string link_table(sim::PlanCost const& cost) {
  TextTable table({"link class", "links", "bytes", "busiest link", "GB/s each"});
  for (auto const& use : cost.links)
    table.add_row({std::string(to_string(use.link_class)), grouped(use.links), human_bytes(use.bytes),
                   human_bytes(use.max_link_bytes), fmt::format("{:.1f}", use.bytes_per_us / 1000)});
  return table.str();
}

/// Phases follow each other, so their errors add up.
double merge_error_us(sim::PlanCost const& cost) {
  double sum = 0;
  for (auto const& phase : cost.phases) sum += phase.merge_error_us;
  return sum;
}

/// @return nothing where no events were merged.
std::string merge_text(sim::PlanCost const& cost) {
  double const error_us = merge_error_us(cost);
  return error_us > 0
             ? fmt::format("; merged events: up to {:.3g} us ({:.2g} %) off", error_us, 100 * error_us / cost.time_us)
             : std::string();
}

nlohmann::ordered_json json_of(sim::PhaseCost const& phase) {
  return {{"name", phase.name},
          {"flows", phase.flows},
          {"bytes", phase.bytes},
          {"local_bytes", phase.local_bytes},
          {"lower_bound_us", phase.lower_bound_us},
          {"time_us", phase.time_us},
          {"bottleneck", phase.bottleneck},
          {"merge_error_us", phase.merge_error_us}};
}

nlohmann::ordered_json json_of(sim::LinkClassUse const& use) {
  return {{"class", to_string(use.link_class)},
          {"links", use.links},
          {"bytes", use.bytes},
          {"busiest_link_bytes", use.max_link_bytes},
          {"gb_per_s", use.bytes_per_us / 1000}};
}

}  // namespace

std::string basis_text(std::vector<sim::FittedCurve> const& curves) {
  if (curves.empty()) return "bandwidths and latencies of the links; no kernels, not calibrated";
  auto const& curve = curves.front();
  return fmt::format("inside a node all-to-all times of {} ({}, {}); between nodes the links", curve.key.system,
                     curve.provenance.version, curve.provenance.file);
}

std::string to_csv(SimulateReport const& report) {
  std::string text = "phase,flows,bytes,local_bytes,lower_bound_us,time_us,merge_error_us,bottleneck\r\n";
  for (auto const& phase : report.cost.phases)
    text +=
        fmt::format("{},{},{},{},{},{},{},{}\r\n", csv_field(phase.name), phase.flows, phase.bytes, phase.local_bytes,
                    phase.lower_bound_us, phase.time_us, phase.merge_error_us, csv_field(phase.bottleneck));
  return text;
}

std::string to_table(SimulateReport const& report) {
  auto const& cluster = report.cluster;
  return fmt::format("plan       {} ({}), digest {}\n", report.plan_name, report.plan_kind, report.plan_digest) +
         fmt::format("cluster    {}: {} nodes x {} GPUs, routing {}, digest {}\n", cluster.name, cluster.nodes,
                     cluster.gpus_per_node, to_string(cluster.network.routing), report.cluster_digest) +
         fmt::format("model      {}: {}\n\n", to_string(report.fidelity), basis_text(report.curves)) +
         phase_table(report) + "\n" + link_table(report.cost) + "\n" +
         (report.varied ? variation_lines(report.variations, report.cost.time_us) : std::string()) +
         fmt::format("total      {} us, at least {} us{}\n", us(report.cost.time_us), us(report.cost.lower_bound_us),
                     merge_text(report.cost));
}

std::string to_json(SimulateReport const& report) {
  nlohmann::ordered_json root{{"schema_version", 1},
                              {"plan", report.plan_name},
                              {"kind", report.plan_kind},
                              {"plan_digest", report.plan_digest},
                              {"cluster", report.cluster.name},
                              {"cluster_digest", report.cluster_digest},
                              {"fidelity", to_string(report.fidelity)},
                              {"basis", basis_text(report.curves)},
                              {"time_us", report.cost.time_us},
                              {"lower_bound_us", report.cost.lower_bound_us},
                              {"merge_error_us", merge_error_us(report.cost)}};
  root["phases"] = nlohmann::ordered_json::array();
  for (auto const& phase : report.cost.phases) root["phases"].push_back(json_of(phase));
  root["links"] = nlohmann::ordered_json::array();
  for (auto const& use : report.cost.links) root["links"].push_back(json_of(use));
  root["sensitivity_20_percent"] = variations_json(report.variations, report.cost.time_us);
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace switchyard::cli
