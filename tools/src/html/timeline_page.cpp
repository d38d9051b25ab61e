// SPDX-License-Identifier: Apache-2.0
#include "html/timeline_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "cli/table.hpp"
#include "html/page.hpp"
#include "html/svg.hpp"
#include "html/timeline_charts.hpp"

namespace switchyard::cli::html {
namespace {

std::string us(double value) {
  return fmt::format("{:.1f} us", value);
}

std::string legend(TimelineRun const& run) {
  std::string out = "<div class=\"scale\">";
  for (auto const& use : kind_uses(run))
    out += fmt::format("<i style=\"background:{}\"></i>{} ", kind_colour(use.kind), escaped(to_string(use.kind)));
  return out + "</div>\n";
}

std::string drawings(TimelineRun const& run) {
  std::string out = "<h2>Streams</h2>\n" + legend(run);
  auto const shown = static_cast<std::size_t>(run.spec.ranks);
  if (shown > 24) out += fmt::format("<p>24 of {} ranks, those of the critical path among them.</p>\n", shown);
  return out + stream_chart(run) +
         "<h2>Links</h2>\n<p>When a link of the class is in use; dark where several exchanges share it.</p>\n" +
         link_chart(run);
}

std::string sensitivity_section(std::vector<Variation> const& variations, double time_us) {
  if (variations.empty() || time_us <= 0) return {};
  return "<h2>What the time hangs on</h2>\n<p>One constant 20 % lower (blue) or higher (orange).</p>\n" +
         variation_chart(variations, time_us);
}

std::string joined(std::vector<std::string> const& texts) {
  std::string out;
  for (auto const& text : texts) out += (out.empty() ? "" : ", ") + text;
  return out;
}

}  // namespace

std::string timeline_page(TimelineReport const& report, TimelineRun const& run) {
  double const makespan = run.summary.makespan_us;
  auto const& exposed = run.summary.exposed_us;
  std::string out = page_head("Switchyard timeline");
  out += fmt::format("<h1>Timeline</h1>\n<p>{} on {}; {}; {}.</p>\n", escaped(joined(report.plans)),
                     escaped(report.basis.cluster.name), escaped(shape_text(run)),
                     escaped(basis_text(report.basis.costs.alltoall)));
  out += "<div class=\"cards\">\n" + card("time", us(makespan)) + card("one after the other", us(report.serial_us)) +
         card("saved by overlap",
              fmt::format("{:.1f} %", report.serial_us > 0 ? 100 * (1 - makespan / report.serial_us) : 0)) +
         card("exposed communication, worst rank",
              us(exposed.empty() ? 0 : *std::max_element(exposed.begin(), exposed.end())));
  if (!run.spec.moves.empty() && run.spec.overlap)
    out += card("moves committed", fmt::format("{} of {}", run.summary.moves_committed, run.spec.moves.size()));
  if (report.effect)
    out += card("a step on the old map", us(report.effect->before_us / report.effect->steps)) +
           card("while moving", us(report.effect->moving_us / report.effect->steps)) +
           card("on the new map", us(report.effect->after_us / report.effect->steps));
  out += "</div>\n" + drawings(run) + sensitivity_section(report.variations, makespan);
  return out + "<h2>Report</h2>\n" + preformatted(to_table(report, run)) + page_end();
}

std::string simulate_page(SimulateReport const& report, TimelineRun const& run) {
  std::int64_t const bytes =
      std::accumulate(report.cost.phases.begin(), report.cost.phases.end(), std::int64_t{0},
                      [](std::int64_t sum, sim::PhaseCost const& phase) { return sum + phase.bytes; });
  std::string out = page_head("Switchyard simulation");
  out += fmt::format("<h1>Simulation of a {}</h1>\n<p>{}, digest {}, on {}, digest {}; model {}: {}.</p>\n",
                     escaped(report.plan_kind), escaped(report.plan_name), escaped(report.plan_digest),
                     escaped(report.cluster.name), escaped(report.cluster_digest), escaped(to_string(report.fidelity)),
                     escaped(basis_text(report.curves)));
  out += "<div class=\"cards\">\n" + card("time", us(report.cost.time_us)) +
         card("at least", us(report.cost.lower_bound_us)) +
         card("phases", grouped(static_cast<std::int64_t>(report.cost.phases.size()))) +
         card("bytes", human_bytes(bytes)) + "</div>\n";
  out += drawings(run) + sensitivity_section(report.variations, report.cost.time_us);
  SimulateReport all = report;
  all.all_phases = true;
  return out + "<h2>Report</h2>\n" + preformatted(to_table(all)) + page_end();
}

}  // namespace switchyard::cli::html
