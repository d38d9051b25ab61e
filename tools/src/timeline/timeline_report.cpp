// SPDX-License-Identifier: Apache-2.0
#include "timeline/timeline_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cli/table.hpp"
#include "commands/simulate_report.hpp"
#include "timeline/move_report.hpp"
#include "timeline/variations_report.hpp"

namespace switchyard::cli {
namespace {

constexpr std::size_t kPiecesShown = 8;

std::string us(double value) {
  return fmt::format("{:.1f}", value);
}

std::string counted(int count, char const* one) {
  return fmt::format("{} {}{}", count, one, count == 1 ? "" : std::string_view(one) == "batch" ? "es" : "s");
}

double share(double part, double whole) {
  return whole > 0 ? 100 * part / whole : 0;
}

double mean_of(std::vector<double> const& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double max_of(std::vector<double> const& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

std::string kind_table(TimelineRun const& run) {
  TextTable table({"task", "mean us", "busiest rank us", "on the path us", "% of the end"});
  for (auto const& use : kind_uses(run))
    table.add_row({std::string(to_string(use.kind)), us(use.mean_us), us(use.max_us), us(use.path_us),
                   us(share(use.path_us, run.summary.makespan_us))});
  return table.str();
}

std::string link_table(TimelineRun const& run) {
  TextTable table({"link class", "bytes", "in use us", "% of the time"});
  for (auto const& use : run.summary.links)
    table.add_row({std::string(to_string(use.link_class)), human_bytes(use.bytes), us(use.busy_us),
                   us(share(use.busy_us, run.summary.makespan_us))});
  return table.str();
}

/// The longest pieces of the critical path, in time order.
std::string path_lines(TimelineRun const& run) {
  auto pieces = run.summary.critical_path;
  std::stable_sort(pieces.begin(), pieces.end(), [](sim::PathPiece const& a, sim::PathPiece const& b) {
    return a.end_us - a.start_us > b.end_us - b.start_us;
  });
  pieces.resize(std::min(pieces.size(), kPiecesShown));
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](sim::PathPiece const& a, sim::PathPiece const& b) { return a.start_us < b.start_us; });
  std::string text =
      fmt::format("critical path, its {} longest pieces of {}\n", pieces.size(), run.summary.critical_path.size());
  for (auto const& piece : pieces)
    text += fmt::format("  {:>10} - {:>10} us  rank {:<5} {}\n", us(piece.start_us), us(piece.end_us),
                        run.graph.rank_of(piece.task).value(), run.graph.label_of(piece.task).name);
  return text;
}

std::string total_lines(TimelineReport const& report, TimelineRun const& run) {
  double const makespan = run.summary.makespan_us;
  std::string text = fmt::format("exposed communication: {} us of a rank on average, {} us at most\n",
                                 us(mean_of(run.summary.exposed_us)), us(max_of(run.summary.exposed_us)));
  text += move_lines(run, report.effect);
  if (report.traced_ranks >= 0 && report.traced_ranks < run.spec.ranks)
    text +=
        fmt::format("the trace file shows {} of {} ranks, those of the critical path first: --max-events allows more\n",
                    report.traced_ranks, run.spec.ranks);
  // Moves come first there, so that all steps are on the new map: it can be less.
  double const more = share(report.serial_us - makespan, makespan);
  text += fmt::format("total      {} us; one after the other {} us, {:.1f} % {}\n", us(makespan), us(report.serial_us),
                      std::abs(more), more < 0 ? "less" : "more");
  return text;
}

nlohmann::ordered_json json_of(sim::PathPiece const& piece, TimelineRun const& run) {
  return {{"task", run.graph.label_of(piece.task).name},
          {"kind", to_string(run.graph.label_of(piece.task).kind)},
          {"rank", run.graph.rank_of(piece.task).value()},
          {"start_us", piece.start_us},
          {"end_us", piece.end_us}};
}

nlohmann::ordered_json spec_json(TimelineReport const& report, TimelineRun const& run) {
  return {{"ranks", run.spec.ranks},
          {"steps", run.spec.steps},
          {"layers", run.spec.layers},
          {"batches", run.spec.batches},
          {"overlap", run.spec.overlap},
          {"attention_us", report.basis.work.attention_us},
          {"shared_expert_us", report.basis.work.shared_expert_us},
          {"row_ns", report.basis.work.row_ns},
          {"sm_share", report.basis.work.sm_share}};
}

}  // namespace

std::vector<KindUse> kind_uses(TimelineRun const& run) {
  std::vector<KindUse> uses;
  auto const ranks = static_cast<std::size_t>(run.spec.ranks);
  for (std::size_t kind = 0; kind < sim::kNumTaskKinds; ++kind) {
    std::vector<double> of_rank(ranks, 0.0);
    for (auto const& stream : run.summary.streams)
      of_rank[run.graph.streams()[stream.stream.index()].rank.index()] += stream.busy_us[kind];
    KindUse const use{static_cast<sim::TaskKind>(kind), mean_of(of_rank), max_of(of_rank), run.summary.path_us[kind]};
    if (use.max_us > 0) uses.push_back(use);
  }
  return uses;
}

std::string shape_text(TimelineRun const& run) {
  std::string text = counted(run.spec.steps, "step");
  if (!run.spec.works.empty())
    text += fmt::format(" of {} and {}", counted(run.spec.layers, "layer"), counted(run.spec.batches, "batch"));
  return text + fmt::format(" on {}", counted(run.spec.ranks, "rank"));
}

std::string to_table(TimelineReport const& report, TimelineRun const& run) {
  std::string text;
  for (std::size_t i = 0; i < report.plans.size(); ++i)
    text += fmt::format("plan       {}, digest {}\n", report.plans[i], report.digests[i]);
  auto const& cluster = report.basis.cluster;
  text += fmt::format("cluster    {}: {} nodes x {} GPUs\n", cluster.name, cluster.nodes, cluster.gpus_per_node);
  text += fmt::format("model      {}: {}\n", to_string(report.fidelity), basis_text(report.basis.costs.alltoall));
  text += fmt::format("timeline   {}{}\n\n", shape_text(run), run.spec.overlap ? "" : ", without overlap");
  return text + kind_table(run) + "\n" + link_table(run) + "\n" + path_lines(run) + "\n" +
         (report.variations.empty() ? std::string() : variation_lines(report.variations, run.summary.makespan_us)) +
         total_lines(report, run);
}

std::string to_json(TimelineReport const& report, TimelineRun const& run) {
  auto const list = nlohmann::ordered_json::array();
  nlohmann::ordered_json root{{"schema_version", 1},
                              {"plans", report.plans},
                              {"plan_digests", report.digests},
                              {"cluster", report.basis.cluster.name},
                              {"cluster_digest", run.topology.fingerprint().to_hex()},
                              {"fidelity", to_string(report.fidelity)},
                              {"basis", basis_text(report.basis.costs.alltoall)},
                              {"timeline", spec_json(report, run)},
                              {"makespan_us", run.summary.makespan_us},
                              {"serial_us", report.serial_us},
                              {"merge_error_us", run.summary.merge_error_us},
                              {"moves", run.spec.moves.size()},
                              {"moves_committed", run.summary.moves_committed},
                              {"map_change", effect_json(report.effect)},
                              {"steps", steps_json(run)},
                              {"exposed_us_of_rank", run.summary.exposed_us}};
  root["sensitivity_20_percent"] = variations_json(report.variations, run.summary.makespan_us);
  root["tasks"] = root["links"] = root["critical_path"] = list;
  for (auto const& use : kind_uses(run))
    root["tasks"].push_back({{"kind", to_string(use.kind)},
                             {"mean_us", use.mean_us},
                             {"busiest_rank_us", use.max_us},
                             {"critical_path_us", use.path_us}});
  for (auto const& use : run.summary.links)
    root["links"].push_back({{"class", to_string(use.link_class)}, {"bytes", use.bytes}, {"in_use_us", use.busy_us}});
  for (auto const& piece : run.summary.critical_path)
    if (piece.end_us > piece.start_us) root["critical_path"].push_back(json_of(piece, run));
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string to_csv(TimelineRun const& run) {
  std::vector<sim::TaskId> order;
  for (sim::TaskId task(0); task.index() < run.timeline.tasks.size(); ++task)
    if (run.timeline.tasks[task.index()].ran()) order.push_back(task);
  auto const key = [&](sim::TaskId task) {
    return std::pair(run.graph.rank_of(task), run.graph.tasks()[task.index()].stream);
  };
  std::stable_sort(order.begin(), order.end(), [&](sim::TaskId a, sim::TaskId b) { return key(a) < key(b); });
  std::string text = "rank,stream,task,kind,start_us,end_us\r\n";
  for (sim::TaskId const task : order) {
    auto const& time = run.timeline.tasks[task.index()];
    auto const& label = run.graph.label_of(task);
    text += fmt::format("{},{},{},{},{},{}\r\n", run.graph.rank_of(task).value(),
                        csv_field(run.graph.streams()[run.graph.tasks()[task.index()].stream.index()].name),
                        csv_field(label.name), to_string(label.kind), time.start_us, time.end_us);
  }
  return text;
}

}  // namespace switchyard::cli
