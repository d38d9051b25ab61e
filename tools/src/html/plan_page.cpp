// SPDX-License-Identifier: Apache-2.0
#include "html/plan_page.hpp"

#include <fmt/format.h>

#include "cli/table.hpp"
#include "html/charts.hpp"
#include "html/page.hpp"
#include "html/svg.hpp"
#include "switchyard/placement/objective.hpp"

namespace switchyard::cli::html {
namespace {

std::string cards(PlanPage const& page) {
  PlanReport const& report = page.report;
  std::string out = "<div class=\"cards\">\n";
  out += card("mean PAR before", fmt::format("{:.3f}", report.before.mean_par));
  out += card("mean PAR after", fmt::format("{:.3f}", report.after.mean_par));
  out += card("worst layer", fmt::format("{:.3f} to {:.3f}", report.before.max_par, report.after.max_par));
  out += card("experts fetched", grouped(report.totals.network_copies));
  out += card("bytes", human_bytes(report.totals.network_copies * report.expert_bytes));
  out += card("slots unchanged", grouped(report.totals.unchanged));
  return out + "</div>\n";
}

/// [layers][ranks] figure over the layer's even figure.
std::vector<std::vector<double>> ratios_of(ExpertLoad const& load, ExpertPlacement const& placement,
                                           PolicyRequest const& asked) {
  PolicyRequest const request = request_served(asked, placement);
  std::vector<std::vector<double>> ratios;
  for (LayerObjective const& layer : measure_objective(load, placement, request).layers) {
    auto& row = ratios.emplace_back(layer.rank_figures);
    for (double& figure : row) figure = layer.even_figure > 0 ? figure / layer.even_figure : 1;
  }
  return ratios;
}

std::string scale_legend() {
  std::string out = "<div class=\"scale\">load relative to the mean of its layer:";
  for (double const ratio : {0.0, 0.5, 1.0, 1.5, 2.0, 3.0})
    out += fmt::format(" <i style=\"background:{}\"></i>{:g}", load_colour(ratio), ratio);
  return out + "</div>\n";
}

std::string rounds_section(PlanPage const& page) {
  RebalanceSchedule const schedule = schedule_move(page.inputs, page.after);
  ScheduleTotals const sums = totals(schedule, page.inputs.rates);
  return fmt::format(
             "<h2>Rounds</h2>\n<p>Scheduled in {} rounds over all layers (no schedule has fewer than {}), {:.3f} ms at "
             "the "
             "given port speeds; {} of extra memory on the GPU that needs most.</p>\n",
             grouped(sums.rounds), grouped(sums.bound_rounds), static_cast<double>(sums.makespan_ns) / 1e6,
             escaped(human_bytes(sums.peak_extra_bytes))) +
         rounds_timeline(schedule);
}

double total_wait(ImbalanceReport const& report) {
  double sum = 0;
  for (LayerImbalance const& layer : report.layers) sum += layer.max_rank_load;
  return sum;
}

std::string pareto_part(PlanPage const& page) {
  if (page.pareto.empty()) return {};
  double const before = total_wait(page.report.before);
  ParetoPoint const planned{page.report.totals.network_copies, before > 0 ? total_wait(page.report.after) / before : 1};
  return "<h2>Moves against balance</h2>\n<p>What the incremental policy reaches with fewer moves, from the same "
         "start.</p>\n" +
         pareto_curve(page.pareto, planned);
}

}  // namespace

std::string plan_page(PlanPage const& page) {
  PlanReport const& report = page.report;
  ExpertLoad const& load = page.inputs.source.load;
  std::string out = page_head("Switchyard rebalance report");
  out += fmt::format(
      "<h1>Expert rebalance</h1>\n<p>{} on {} GPUs with {} slots per layer; loads from {}; plan {}, fingerprint "
      "{}.</p>\n",
      escaped(report.policy_note), report.num_ranks, report.num_slots, escaped(report.load_name),
      escaped(report.out.empty() ? "not written" : report.out), escaped(report.fingerprint));
  out += cards(page);
  out += "<h2>Load of every GPU in every layer</h2>\n" + scale_legend() + "<div class=\"side\"><div><h3>before</h3>\n";
  out += load_heatmap(ratios_of(load, page.inputs.before, page.inputs.request), "loads before");
  out += "</div><div><h3>after</h3>\n" + load_heatmap(ratios_of(load, page.after, page.inputs.request), "loads after") +
         "</div></div>\n";
  out += "<h2>Who sends to whom</h2>\n" + transfer_matrix(TransferMatrix(page.plan));
  out += rounds_section(page) + pareto_part(page);
  return out + "<h2>Report</h2>\n" + preformatted(to_table(report, true)) + page_end();
}

}  // namespace switchyard::cli::html
