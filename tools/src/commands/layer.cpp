// SPDX-License-Identifier: Apache-2.0
// switchyard layer: runs a described MoE layer on emulated ranks and compares it with one rank that holds everything.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "commands/layer_run.hpp"

namespace switchyard::cli {
namespace {

/// A run and what became of the comparison.
struct LayerVerdict {
  LayerRun run;
  std::string skipped{};     ///< why it was not run
  std::string difference{};  ///< the first element that differs
  Fingerprint forward{};
  Fingerprint backward{};
  [[nodiscard]] std::string text() const {
    if (!skipped.empty()) return "skipped: " + skipped;
    return difference.empty() ? "same bits" : difference;
  }
};

/// What is compared with, and all comparisons.
struct LayerReport {
  LayerDescription description;
  LayerRun dense;
  std::vector<LayerVerdict> verdicts{};

  [[nodiscard]] bool backward() const { return description.backward; }
  [[nodiscard]] std::int64_t runs() const {
    return std::ranges::count_if(verdicts, [](auto const& verdict) { return verdict.skipped.empty(); });
  }
  [[nodiscard]] bool good() const {
    return std::ranges::all_of(verdicts, [](auto const& verdict) { return verdict.difference.empty(); });
  }
};

LayerVerdict judge(LayerReport const& report, cpu::PrepareKind kind, ExpertParallelGrid grid,
                   cpu::Scheduler& scheduler) {
  LayerDescription const& d = report.description;
  LayerVerdict verdict{{}, not_runnable(d, kind, grid)};
  verdict.run.kind = kind;
  verdict.run.grid = grid;
  if (!verdict.skipped.empty()) return verdict;
  verdict.run = run_layer(d, kind, grid, scheduler);
  verdict.forward = verdict.run.tensors.forward_digest();
  verdict.backward = verdict.run.tensors.backward_digest();
  verdict.difference = first_difference(d, grid, verdict.run.tensors, report.dense.tensors);
  if (d.prepares.size() * d.eps.size() * d.tps.size() > 1) verdict.run.tensors = {};  // only digests are printed
  return verdict;
}

LayerReport run_all(LayerDescription const& description, cpu::Scheduler& scheduler) {
  LayerReport report{description, run_dense(description, scheduler)};
  for (cpu::PrepareKind const kind : description.prepares)
    for (int const ep : description.eps)
      for (int const tp : description.tps) report.verdicts.push_back(judge(report, kind, {tp, ep}, scheduler));
  return report;
}

std::int64_t remote_bytes(LayerRun const& run) {
  return std::accumulate(run.stages.begin(), run.stages.end(), std::int64_t{0},
                         [](std::int64_t sum, StageTotal const& stage) { return sum + stage.remote_bytes; });
}

double total_ms(LayerRun const& run) {
  return std::accumulate(run.ms.begin(), run.ms.end(), 0.0);
}

std::size_t num_steps(LayerReport const& report) {
  return report.backward() ? kLayerSteps.size() : kForwardSteps;
}

/// The one run of a description without lists, stage by stage.
std::string stage_tables(LayerReport const& report) {
  LayerRun const& run = report.verdicts.front().run;
  TextTable stages({"stage", "rows", "bytes", "from other ranks"});
  for (StageTotal const& stage : run.stages)
    stages.add_row({stage.name, grouped(stage.rows), grouped(stage.bytes), grouped(stage.remote_bytes)});
  stages.add_row({"experts", grouped(run.expert_rows), "", ""});
  TextTable steps({"step", "ms of the slowest rank"});
  for (std::size_t step = 0; step < num_steps(report); ++step)
    steps.add_row({std::string(kLayerSteps[step]), fmt::format("{:.3f}", run.ms[step])});
  TextTable tensors({"tensor", "rows", "columns", "digest", "dense rank"});
  for (std::size_t i = 0; i < run.tensors.all().size(); ++i) {
    LayerTensor const& tensor = run.tensors.all()[i];
    tensors.add_row({std::string(tensor.name), grouped(tensor.rows), grouped(tensor.columns),
                     digest_of(tensor).to_hex(), digest_of(report.dense.tensors.all()[i]).to_hex()});
  }
  return stages.str() + "\n" + steps.str() + "\n" + tensors.str() + "\n";
}

/// One line that holds for all runs.
std::string summary(LayerReport const& report) {
  std::string const forward = report.dense.tensors.forward_digest().to_hex();
  std::string text = "dense rank: forward " + forward;
  if (report.backward()) text += ", backward " + report.dense.tensors.backward_digest().to_hex();
  std::int64_t const equal = std::ranges::count_if(
      report.verdicts, [](auto const& verdict) { return verdict.skipped.empty() && verdict.difference.empty(); });
  return text + fmt::format("; {} of {} runs have its bits\n", equal, report.runs());
}

std::string to_table(LayerReport const& report) {
  TextTable table(
      {"way", "ep", "tp", "expert rows", "from other ranks", "ms", "forward", "backward", "against one dense rank"});
  for (LayerVerdict const& verdict : report.verdicts) {
    LayerRun const& run = verdict.run;
    bool const ran = verdict.skipped.empty();
    table.add_row({std::string(to_string(run.kind)), std::to_string(run.grid.ep), std::to_string(run.grid.tp),
                   ran ? grouped(run.expert_rows) : "-", ran ? human_bytes(remote_bytes(run)) : "-",
                   ran ? fmt::format("{:.3f}", total_ms(run)) : "-", ran ? verdict.forward.to_hex() : "-",
                   ran && report.backward() ? verdict.backward.to_hex() : "-", verdict.text()});
  }
  std::string const details = report.verdicts.size() == 1 && report.runs() == 1 ? stage_tables(report) : std::string();
  return details + table.str() + summary(report);
}

nlohmann::ordered_json digests_of(LayerTensors const& tensors) {
  nlohmann::ordered_json digests;
  for (LayerTensor const& tensor : tensors.all()) digests[std::string(tensor.name)] = digest_of(tensor).to_hex();
  return digests;
}

nlohmann::ordered_json json_of(LayerReport const& report, LayerVerdict const& verdict) {
  LayerRun const& run = verdict.run;
  nlohmann::ordered_json one{{"prepare", to_string(run.kind)}, {"ep", run.grid.ep}, {"tp", run.grid.tp}};
  if (!verdict.skipped.empty()) {
    one["skipped"] = verdict.skipped;
    return one;
  }
  one.update({{"expert_rows", run.expert_rows}, {"digest", verdict.forward.to_hex()}});
  if (report.backward()) one["backward_digest"] = verdict.backward.to_hex();
  if (!run.tensors.all().empty()) one["tensors"] = digests_of(run.tensors);
  one["stages"] = nlohmann::ordered_json::array();
  for (StageTotal const& stage : run.stages)
    one["stages"].push_back(
        {{"stage", stage.name}, {"rows", stage.rows}, {"bytes", stage.bytes}, {"remote_bytes", stage.remote_bytes}});
  for (std::size_t step = 0; step < num_steps(report); ++step) one["ms"][std::string(kLayerSteps[step])] = run.ms[step];
  one["same_bits"] = verdict.difference.empty();
  if (!verdict.difference.empty()) one["first_difference"] = verdict.difference;
  return one;
}

std::string to_json(LayerReport const& report) {
  nlohmann::ordered_json runs = nlohmann::ordered_json::array();
  for (LayerVerdict const& verdict : report.verdicts) runs.push_back(json_of(report, verdict));
  nlohmann::ordered_json root{{"schema_version", 1},
                              {"backward", report.backward()},
                              {"dense_digest", report.dense.tensors.forward_digest().to_hex()}};
  if (report.backward()) root["dense_backward_digest"] = report.dense.tensors.backward_digest().to_hex();
  root["dense_tensors"] = digests_of(report.dense.tensors);
  root["all_same_bits"] = report.good();
  root["runs"] = runs;
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// Every way, EP 1, 2, 4, 8 and TP 1, 2, 4, 8.
void widen_to_sweep(LayerDescription& description) {
  description.prepares.assign(cpu::kAllPrepareKinds.begin(), cpu::kAllPrepareKinds.end());
  description.eps = {1, 2, 4, 8};
  description.tps = {1, 2, 4, 8};
}

ExitCode run_layer_command(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  bool const threads = options.choice("scheduler", {"cooperative", "threads"}) == "threads";
  LayerDescription description = read_layer_description(options.text("DESCRIPTION"));
  if (options.has("sweep")) widen_to_sweep(description);
  auto const scheduler = threads ? cpu::make_thread_scheduler() : cpu::make_cooperative_scheduler();
  LayerReport const report = run_all(description, *scheduler);
  fmt::print("{}", json ? to_json(report) : to_table(report));
  return report.good() ? ExitCode::ok : ExitCode::found_wrong;
}

}  // namespace

Command layer_command() {
  return {
      "layer",
      "runs a MoE layer on emulated ranks, against one dense rank",
      "Reads a layer from a JSON file, runs it forward and backward for every listed way to move rows, EP and TP\n"
      "size, and compares every bit of the output and of the gradients of tokens, router weights, expert weights and\n"
      "biases with a run on one rank that holds all experts whole. Names the first element that differs. Weights,\n"
      "tokens, routing and the output's gradient follow from the seed in the file: equal digests mean equal results.\n",
      {{"DESCRIPTION", OptionKind::positional, "DESCRIPTION", "", "the layer and how to run it, JSON"},
       {"sweep", OptionKind::flag, "", "", "every way, EP 1, 2, 4, 8 and TP 1, 2, 4, 8, whatever the file lists"},
       {"scheduler", OptionKind::optional, "cooperative|threads", "threads",
        "all ranks on one thread, or one thread each"},
       format_option()},
      {"switchyard layer layer.json", "switchyard layer layer.json --sweep --scheduler cooperative"},
      run_layer_command};
}

}  // namespace switchyard::cli
