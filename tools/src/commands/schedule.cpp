// SPDX-License-Identifier: Apache-2.0
// switchyard schedule: a rebalance in rounds without hot links, its length beside the bound that nothing can beat.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/progress.hpp"
#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "planning/plan_inputs.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/types/topology.hpp"
#include "switchyard/types/version.hpp"

namespace switchyard::cli {
namespace {

constexpr std::size_t kShownLayers = 16;

ScheduleOptions schedule_options(ParsedOptions const& options, int num_ranks) {
  ScheduleOptions schedule;
  int const nodes = options.small_integer("nodes", 1, kMaxRanks);
  if (nodes > 1) schedule.topology = Topology(num_ranks, nodes);
  schedule.rates = rates_of(options);
  schedule.expert_bytes = options.integer("expert-bytes", 0, std::int64_t{1} << 40);
  if (options.has("spare-rows")) schedule.spare_rows = options.small_integer("spare-rows", 1, kMaxSlots);
  schedule.max_transfers_per_round = options.small_integer("max-transfers", 0, kMaxSlots);
  schedule.forwarding = !options.has("no-forwarding");
  bool const compatible = options.choice("senders", {"balanced", "compatible"}) == "compatible";
  schedule.senders = compatible ? SenderRule::compatible : SenderRule::balanced;
  return schedule;
}

std::string describe(RoundBound const& bound) {
  if (bound.kind == BoundKind::none) return "-";
  if (bound.kind == BoundKind::spread) return fmt::format("spread of expert {}", bound.expert.value());
  std::string ranks;
  for (std::size_t i = 0; i < std::min<std::size_t>(bound.ranks.size(), 4); ++i)
    ranks += fmt::format("{}{}", i == 0 ? "" : ",", bound.ranks[i].value());
  if (bound.ranks.size() > 4) ranks += ",...";
  return fmt::format("{} of GPU {}", to_string(bound.kind), ranks);
}

std::int64_t transfers_of(LayerSchedule const& layer) {
  std::int64_t transfers = 0;
  for (TransferRound const& round : layer.rounds) transfers += static_cast<std::int64_t>(round.transfers.size());
  return transfers;
}

std::string to_table(RebalanceSchedule const& schedule, ScheduleTotals const& sums, std::string const& out) {
  TextTable table({"layer", "transfers", "rounds", "bound", "spare rows", "because"});
  std::size_t const shown = std::min(schedule.layers.size(), kShownLayers);
  for (std::size_t i = 0; i < shown; ++i) {
    LayerSchedule const& layer = schedule.layers[i];
    table.add_row({fmt::format("{}", i), grouped(transfers_of(layer)), fmt::format("{}", layer.rounds.size()),
                   fmt::format("{}", layer.bound.rounds), fmt::format("{}", layer.spare_rows_used),
                   describe(layer.bound)});
  }
  std::string text = table.str();
  if (shown < schedule.layers.size())
    text += fmt::format("(the first {} layers of {}; --format json has all)\n", shown, schedule.layers.size());
  double const ms = static_cast<double>(sums.makespan_ns) / 1e6;
  double const bound_ms = static_cast<double>(sums.bound_ns) / 1e6;
  text += fmt::format("\nrounds     {} over all layers, no schedule has fewer than {}\n", grouped(sums.rounds),
                      grouped(sums.bound_rounds));
  text += fmt::format("time       {:.3f} ms, no schedule is below {:.3f} ms ({:.3f} of it)\n", ms, bound_ms,
                      bound_ms > 0 ? ms / bound_ms : 1.0);
  text += fmt::format("transfers  {} over the network, {} inside nodes, {} copies inside a GPU\n",
                      grouped(sums.network_transfers), grouped(sums.intra_transfers), grouped(sums.copies));
  text += fmt::format("memory     {} spare rows on the GPU that needs most: {}\n", sums.spare_rows_used,
                      human_bytes(sums.peak_extra_bytes));
  if (!schedule.reloads.empty())
    text += fmt::format("reload     {} slots from the checkpoint\n",
                        grouped(static_cast<std::int64_t>(schedule.reloads.size())));
  text += "proof      ok: replayed on symbolic rows, every port, row and bound checked\n";
  return text + (out.empty() ? "wrote      nothing: give --out FILE to keep the schedule\n"
                             : fmt::format("wrote      {}, fingerprint {}\n", out, schedule.fingerprint().to_hex()));
}

std::string to_json_report(RebalanceSchedule const& schedule, ScheduleTotals const& sums, std::string const& out) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (LayerSchedule const& layer : schedule.layers)
    layers.push_back({{"transfers", transfers_of(layer)},
                      {"rounds", layer.rounds.size()},
                      {"bound", layer.bound.rounds},
                      {"bound_kind", to_string(layer.bound.kind)},
                      {"spare_rows", layer.spare_rows_used}});
  nlohmann::ordered_json const root{{"schema_version", 1},
                                    {"schedule", out},
                                    {"fingerprint", schedule.fingerprint().to_hex()},
                                    {"rounds", sums.rounds},
                                    {"bound_rounds", sums.bound_rounds},
                                    {"makespan_ns", sums.makespan_ns},
                                    {"bound_ns", sums.bound_ns},
                                    {"network_transfers", sums.network_transfers},
                                    {"node_transfers", sums.intra_transfers},
                                    {"copies", sums.copies},
                                    {"spare_rows_used", sums.spare_rows_used},
                                    {"peak_extra_bytes", sums.peak_extra_bytes},
                                    {"reloads", schedule.reloads.size()},
                                    {"layers", layers}};
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

ExitCode run_schedule(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  std::string const file = options.text("PLAN");
  std::optional<Progress> progress(std::in_place, "schedule", 3);
  RebalancePlan const plan = io::rebalance_plan_from_json(io::read_file(file), file);
  require_valid(plan);
  progress->set(1);
  ScheduleOptions const settings = schedule_options(options, plan.before.num_ranks());
  RebalanceSchedule const schedule =
      plan_schedule(start_placement(plan), target_placement(plan), plan.mapping, settings);
  progress->set(2);
  require_valid(schedule);
  std::string const out = options.has("out") ? options.text("out") : std::string();
  io::PlanNotes const notes{"switchyard " SWITCHYARD_VERSION_STRING, "scheduled", file};
  if (!out.empty()) io::write_file_atomically(out, io::to_json(schedule, notes));
  ScheduleTotals const sums = totals(schedule, settings.rates);
  progress.reset();
  fmt::print("{}", json ? to_json_report(schedule, sums, out) : to_table(schedule, sums, out));
  return ExitCode::ok;
}

}  // namespace

Command schedule_command() {
  return {"schedule",
          "puts a plan's transfers into rounds, with proof and bound",
          "Chooses senders by topology and load, colours the transfers into rounds in which no GPU sends or receives\n"
          "twice, and states rounds, time and spare rows beside what no schedule can beat.\n",
          {{"PLAN", OptionKind::positional, "PLAN", "", "plan file of switchyard plan"},
           {"nodes", OptionKind::optional, "N", "1",
            "hosts that the GPUs are spread over evenly; an expert enters a host once"},
           {"network-gbs", OptionKind::optional, "X", "50", "GB/s of a GPU's port between nodes"},
           {"node-gbs", OptionKind::optional, "X", "450", "GB/s of a GPU's port inside a node"},
           {"expert-bytes", OptionKind::optional, "BYTES", "44040192", "weights of one expert of one layer"},
           {"spare-rows", OptionKind::optional, "N", "", "rows of extra memory per GPU; as many as slots by default"},
           {"max-transfers", OptionKind::optional, "N", "0", "transfers of the whole group per round; 0 = no limit"},
           {"senders", OptionKind::optional, "balanced|compatible", "balanced",
            "compatible keeps vLLM's choice of senders"},
           {"no-forwarding", OptionKind::flag, "", "", "a GPU passes nothing on that it has received in the same move"},
           format_option(),
           {"out", OptionKind::optional, "FILE", "",
            "schedule file to write, replaced as a whole; without it only the report"}},
          {"switchyard schedule plan.json --nodes 4 --out schedule.json",
           "switchyard schedule plan.json --spare-rows 2 --format json"},
          run_schedule};
}

}  // namespace switchyard::cli
