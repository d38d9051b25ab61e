// SPDX-License-Identifier: Apache-2.0
#include "commands/plan_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cli/table.hpp"

namespace switchyard::cli {
namespace {

constexpr std::size_t kManyLayers = 16;
constexpr std::size_t kShownLayers = 8;

std::string load_line(PlanReport const& report) {
  ExpertLoad const& load = report.source.load;
  std::string line =
      fmt::format("load       {} ({}): {} x {} x {} (steps x layers x experts)\n", report.load_name,
                  io::to_string(report.source.format), load.num_steps(), load.num_layers(), load.num_experts());
  if (report.source.format == io::LoadFormat::jsonl_routing) {
    line += fmt::format("records    {} counted, {} dropped as the engine's profiling pass, {} of other types skipped\n",
                        grouped(report.source.records), grouped(report.source.dropped_profiling),
                        grouped(report.source.dropped_other));
  }
  return line;
}

std::vector<std::string> layer_row(PlanReport const& report, std::size_t layer) {
  LayerImbalance const& before = report.before.layers[layer];
  LayerImbalance const& after = report.after.layers[layer];
  LayerMoves const& moves = report.moves[layer];
  return {fmt::format("{}", layer),
          fmt::format("{:.3f}", before.par),
          fmt::format("{:.3f}", after.par),
          fmt::format("{:.3f}", after.lower_bound_par),
          fmt::format("{:.3f}", after.noise_floor_par),
          fmt::format("{:.3f}", after.excess),
          grouped(moves.network),
          grouped(moves.local),
          human_bytes(moves.network * report.expert_bytes)};
}

double mean_of(ImbalanceReport const& report, double LayerImbalance::*figure) {
  double sum = 0;
  for (LayerImbalance const& layer : report.layers) sum += layer.*figure;
  return sum / static_cast<double>(report.layers.size());
}

std::vector<std::string> mean_row(PlanReport const& report) {
  auto const layers = static_cast<double>(report.moves.size());
  return {"mean",
          fmt::format("{:.3f}", report.before.mean_par),
          fmt::format("{:.3f}", report.after.mean_par),
          fmt::format("{:.3f}", mean_of(report.after, &LayerImbalance::lower_bound_par)),
          fmt::format("{:.3f}", mean_of(report.after, &LayerImbalance::noise_floor_par)),
          fmt::format("{:.3f}", mean_of(report.after, &LayerImbalance::excess)),
          fmt::format("{:.1f}", static_cast<double>(report.totals.network_copies) / layers),
          fmt::format("{:.1f}", static_cast<double>(report.totals.local_copies + report.totals.duplicates) / layers),
          human_bytes(report.totals.network_copies * report.expert_bytes / static_cast<std::int64_t>(layers))};
}

/// The layers a table shows: all of them, or the ones that stay worst, ascending.
std::vector<std::size_t> shown_layers(PlanReport const& report, bool all_layers) {
  std::vector<std::size_t> layers(report.after.layers.size());
  std::iota(layers.begin(), layers.end(), std::size_t{0});
  if (all_layers || layers.size() <= kManyLayers) return layers;
  std::stable_sort(layers.begin(), layers.end(), [&](std::size_t a, std::size_t b) {
    return report.after.layers[a].par > report.after.layers[b].par;
  });
  layers.resize(kShownLayers);
  std::sort(layers.begin(), layers.end());
  return layers;
}

std::string summary(PlanReport const& report) {
  ImbalanceReport const& was = report.before;
  ImbalanceReport const& is = report.after;
  RebalanceTotals const& totals = report.totals;
  std::string text = fmt::format(
      "PAR        before {:.3f} (layers {:.3f} to {:.3f}), after {:.3f} (layers {:.3f} to {:.3f}); max / mean rank "
      "load\n",
      was.mean_par, was.min_par, was.max_par, is.mean_par, is.min_par, is.max_par);
  text += fmt::format("balance    vLLM balancedness {:.4f} -> {:.4f} (sum of means / sum of maxima, 1 is even)\n",
                      was.vllm_balancedness, is.vllm_balancedness);
  text += fmt::format("moves      {} over the network ({}), {} inside a rank, {} slots unchanged\n",
                      grouped(totals.network_copies), human_bytes(totals.network_copies * report.expert_bytes),
                      grouped(totals.local_copies + totals.duplicates), grouped(totals.unchanged));
  text += fmt::format("busiest    rank sends {} ({}), rank receives {} ({})\n", grouped(totals.max_sends_of_rank),
                      human_bytes(totals.max_sends_of_rank * report.expert_bytes), grouped(totals.max_receives_of_rank),
                      human_bytes(totals.max_receives_of_rank * report.expert_bytes));
  if (report.reloads > 0)
    text += fmt::format("reload     {} slots from the checkpoint: no living GPU holds their experts\n",
                        grouped(report.reloads));
  return text;
}

nlohmann::ordered_json imbalance_json(ImbalanceReport const& report) {
  return {{"mean_par", report.mean_par},
          {"min_par", report.min_par},
          {"max_par", report.max_par},
          {"vllm_balancedness", report.vllm_balancedness}};
}

nlohmann::ordered_json layer_json(PlanReport const& report, std::size_t layer) {
  LayerImbalance const& after = report.after.layers[layer];
  return {{"layer", layer},
          {"par_before", report.before.layers[layer].par},
          {"par_after", after.par},
          {"excess_after", after.excess},
          {"lower_bound_par", after.lower_bound_par},
          {"noise_floor_par", after.noise_floor_par},
          {"max_rank_load_after", after.max_rank_load},
          {"network_copies", report.moves[layer].network},
          {"local_copies", report.moves[layer].local}};
}

nlohmann::ordered_json moves_json(PlanReport const& report) {
  RebalanceTotals const& totals = report.totals;
  return {{"network_copies", totals.network_copies},
          {"network_bytes", totals.network_copies * report.expert_bytes},
          {"local_copies", totals.local_copies},
          {"duplicates", totals.duplicates},
          {"unchanged", totals.unchanged},
          {"max_sends_of_rank", totals.max_sends_of_rank},
          {"max_receives_of_rank", totals.max_receives_of_rank},
          {"expert_bytes", report.expert_bytes},
          {"reloads", report.reloads}};
}

}  // namespace

std::vector<LayerMoves> moves_per_layer(RebalancePlan const& plan) {
  std::vector<LayerMoves> moves;
  for (LayerTransfers const& layer : plan.layers) {
    LayerMoves& sum = moves.emplace_back();
    for (RankTransfers const& rank : layer.ranks) {
      sum.network += static_cast<std::int64_t>(rank.sends.size());
      sum.local += static_cast<std::int64_t>(rank.local_copies.size() + rank.duplicates.size());
    }
  }
  return moves;
}

std::string to_table(PlanReport const& report, bool all_layers) {
  auto const layers = shown_layers(report, all_layers);
  TextTable table({"layer", "PAR before", "PAR after", "bound", "noise floor", "(max-mean)/mean", "fetches",
                   "local copies", "network bytes"});
  for (std::size_t layer : layers) table.add_row(layer_row(report, layer));
  table.add_row(mean_row(report));
  std::string text = load_line(report);
  text += report.comparison.text;
  text += fmt::format("policy     {} on {} GPUs, {} slots\n\n", report.policy_note, report.num_ranks, report.num_slots);
  text += table.str();
  if (layers.size() < report.moves.size()) {
    text += fmt::format("(the {} layers of {} that stay worst; --all-layers shows every one)\n", layers.size(),
                        report.moves.size());
  }
  text += '\n';
  text += summary(report);
  for (ReportSection const& section : report.sections) text += section.text;
  text += report.out.empty() ? std::string("wrote      nothing: give --out FILE to keep the plan\n")
                             : fmt::format("wrote      {}, fingerprint {}\n", report.out, report.fingerprint);
  return text;
}

std::string to_json(PlanReport const& report) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (std::size_t layer = 0; layer < report.moves.size(); ++layer) layers.push_back(layer_json(report, layer));
  nlohmann::ordered_json root{{"schema_version", 1},
                              {"plan", report.out},
                              {"fingerprint", report.fingerprint},
                              {"policy", report.policy},
                              {"load",
                               {{"file", report.load_name},
                                {"format", io::to_string(report.source.format)},
                                {"steps", report.source.load.num_steps()},
                                {"records", report.source.records},
                                {"dropped_profiling", report.source.dropped_profiling},
                                {"dropped_other", report.source.dropped_other}}},
                              {"ranks", report.num_ranks},
                              {"slots", report.num_slots},
                              {"before", imbalance_json(report.before)},
                              {"after", imbalance_json(report.after)},
                              {"moves", moves_json(report)},
                              {"layers", layers}};
  if (!report.comparison.key.empty())
    root[report.comparison.key] = nlohmann::ordered_json::parse(report.comparison.json);
  for (ReportSection const& section : report.sections) root[section.key] = nlohmann::ordered_json::parse(section.json);
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace switchyard::cli
