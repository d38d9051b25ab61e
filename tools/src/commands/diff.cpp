// SPDX-License-Identifier: Apache-2.0
// switchyard diff: what lies between two placements: moves, bytes per link, and what they do to the balance.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "commands/plan_report.hpp"
#include "planning/plan_inputs.hpp"
#include "planning/transfer_matrix.hpp"
#include "switchyard/types/topology.hpp"

namespace switchyard::cli {
namespace {

constexpr std::size_t kShownLinks = 10;
constexpr int kMaxLayersShown = 16;

struct Difference {
  std::string before_file;
  std::string after_file;
  RebalancePlan plan;
  int num_nodes = 1;
  std::int64_t expert_bytes = 0;
  std::optional<ImbalanceReport> before{};  ///< with --load only
  std::optional<ImbalanceReport> after{};
  std::int64_t node_fetches = 0;     ///< inside nodes
  std::int64_t network_fetches = 0;  ///< between nodes
};

void require_same_shape(ExpertPlacement const& a, ExpertPlacement const& b, Difference const& difference) {
  bool const same = a.num_layers() == b.num_layers() && a.num_experts() == b.num_experts() && a.layout() == b.layout();
  if (!same)
    throw UsageError(
        fmt::format("{} places {} layers of {} experts on {} slots of {} GPUs, {} places {} of {} on {} of {}: "
                    "give two placements of one cluster",
                    difference.before_file, a.num_layers(), a.num_experts(), a.num_slots(), a.num_ranks(),
                    difference.after_file, b.num_layers(), b.num_experts(), b.num_slots(), b.num_ranks()));
}

void count_tiers(Difference& difference, TransferMatrix const& matrix) {
  int const per_node = matrix.num_ranks() / difference.num_nodes;
  for (auto const& link : matrix.links())
    (link.from / per_node == link.to / per_node ? difference.node_fetches : difference.network_fetches) += link.experts;
}

std::string layer_table(Difference const& difference) {
  auto const moves = moves_per_layer(difference.plan);
  TextTable table({"layer", "fetches", "local copies", "PAR before", "PAR after"});
  std::size_t const shown = std::min<std::size_t>(moves.size(), kMaxLayersShown);
  for (std::size_t layer = 0; layer < shown; ++layer) {
    std::vector<std::string> row{fmt::format("{}", layer), grouped(moves[layer].network), grouped(moves[layer].local)};
    if (difference.before) {
      row.push_back(fmt::format("{:.3f}", difference.before->layers[layer].par));
      row.push_back(fmt::format("{:.3f}", difference.after->layers[layer].par));
    }
    table.add_row(std::move(row));
  }
  std::string text = table.str();
  if (shown < moves.size())
    text += fmt::format("(the first {} layers of {}; --format json has all)\n", shown, moves.size());
  return text;
}

std::string to_table(Difference const& difference, TransferMatrix const& matrix) {
  RebalanceTotals const sums = totals(difference.plan);
  std::int64_t const bytes = difference.expert_bytes;
  std::string text = fmt::format("from       {}\nto         {}\n\n", difference.before_file, difference.after_file);
  text += layer_table(difference) + "\n";
  if (difference.before)
    text += fmt::format("PAR        {:.4f} -> {:.4f} (mean over layers), {:.4f} -> {:.4f} (worst layer)\n",
                        difference.before->mean_par, difference.after->mean_par, difference.before->max_par,
                        difference.after->max_par);
  text += fmt::format("moves      {} experts over links ({}), {} inside a GPU, {} slots unchanged\n",
                      grouped(sums.network_copies), human_bytes(sums.network_copies * bytes),
                      grouped(sums.local_copies + sums.duplicates), grouped(sums.unchanged));
  if (difference.num_nodes > 1)
    text += fmt::format("tiers      {} between nodes ({}), {} inside nodes ({})\n", grouped(difference.network_fetches),
                        human_bytes(difference.network_fetches * bytes), grouped(difference.node_fetches),
                        human_bytes(difference.node_fetches * bytes));
  auto const links = matrix.links();
  for (std::size_t i = 0; i < std::min(links.size(), kShownLinks); ++i)
    text += fmt::format("{}  GPU {} -> GPU {}: {} experts ({})\n", i == 0 ? "links    " : "         ", links[i].from,
                        links[i].to, links[i].experts, human_bytes(links[i].experts * bytes));
  if (links.size() > kShownLinks)
    text += fmt::format("           and {} links that carry less\n", links.size() - kShownLinks);
  return text;
}

std::string to_json(Difference const& difference, TransferMatrix const& matrix) {
  RebalanceTotals const sums = totals(difference.plan);
  auto const moves = moves_per_layer(difference.plan);
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (std::size_t layer = 0; layer < moves.size(); ++layer) {
    nlohmann::ordered_json row{
        {"layer", layer}, {"fetches", moves[layer].network}, {"local_copies", moves[layer].local}};
    if (difference.before) {
      row["par_before"] = difference.before->layers[layer].par;
      row["par_after"] = difference.after->layers[layer].par;
    }
    layers.push_back(row);
  }
  nlohmann::ordered_json links = nlohmann::ordered_json::array();
  for (auto const& link : matrix.links())
    links.push_back({{"from", link.from},
                     {"to", link.to},
                     {"experts", link.experts},
                     {"bytes", link.experts * difference.expert_bytes}});
  nlohmann::ordered_json root{{"schema_version", 1},
                              {"from", difference.before_file},
                              {"to", difference.after_file},
                              {"fetches", sums.network_copies},
                              {"bytes", sums.network_copies * difference.expert_bytes},
                              {"fetches_between_nodes", difference.network_fetches},
                              {"fetches_inside_nodes", difference.node_fetches},
                              {"local_copies", sums.local_copies + sums.duplicates},
                              {"unchanged", sums.unchanged}};
  if (difference.before) {
    root["mean_par_before"] = difference.before->mean_par;
    root["mean_par_after"] = difference.after->mean_par;
  }
  root["layers"] = layers;
  root["links"] = links;
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

ExitCode run_diff(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  int const gpus = options.has("gpus") ? options.small_integer("gpus", 1, kMaxRanks) : 0;
  int const experts = options.has("experts") ? options.small_integer("experts", 1, kMaxSlots) : 0;
  Difference difference;
  difference.before_file = options.text("BEFORE");
  difference.after_file = options.text("AFTER");
  ExpertPlacement const before = read_served(difference.before_file, experts, gpus);
  ExpertPlacement const after = read_served(difference.after_file, experts, gpus);
  require_same_shape(before, after, difference);
  difference.num_nodes = options.small_integer("nodes", 1, kMaxRanks);
  (void)Topology(before.num_ranks(), difference.num_nodes);
  difference.expert_bytes = options.integer("expert-bytes", 0, std::int64_t{1} << 40);
  difference.plan = plan_rebalance(before, after);
  if (options.has("load")) {
    auto const load = io::read_expert_load(options.text("load"), before.num_experts()).load;
    difference.before = measure_imbalance(load, before);
    difference.after = measure_imbalance(load, after);
  }
  TransferMatrix const matrix(difference.plan);
  count_tiers(difference, matrix);
  fmt::print("{}", json ? to_json(difference, matrix) : to_table(difference, matrix));
  return ExitCode::ok;
}

}  // namespace

Command diff_command() {
  return {
      "diff",
      "compares two placements: moves, bytes per link, balance",
      "Both files may have any placement format, plan files included (their placement after the move). Exit code 0\n"
      "whether they differ or not.\n",
      {{"BEFORE", OptionKind::positional, "BEFORE", "", "placement that is left"},
       {"AFTER", OptionKind::positional, "AFTER", "", "placement that is reached"},
       {"gpus", OptionKind::optional, "G", "", "ranks that the slots belong to, where the files do not say"},
       {"experts", OptionKind::optional, "E", "", "logical experts, where the files do not say"},
       {"nodes", OptionKind::optional, "N", "1", "hosts that the GPUs are spread over evenly"},
       {"load", OptionKind::optional, "FILE", "", "measured loads, for the change of the balance"},
       {"expert-bytes", OptionKind::optional, "BYTES", "44040192", "weights of one expert of one layer"},
       format_option()},
      {"switchyard diff old.json plan.json --load load.json --nodes 4"},
      run_diff};
}

}  // namespace switchyard::cli
