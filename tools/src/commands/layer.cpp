// SPDX-License-Identifier: Apache-2.0
// switchyard layer: runs a described MoE layer on emulated ranks and compares it with one rank that holds everything.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "commands/layer_run.hpp"
#include "switchyard/types/fingerprint.hpp"

namespace switchyard::cli {
namespace {

/// A run and what became of the comparison.
struct LayerVerdict {
  LayerRun run;
  std::string skipped{};     ///< why it was not run
  std::string difference{};  ///< the first element that differs
  Fingerprint digest{};
  [[nodiscard]] std::string text() const {
    if (!skipped.empty()) return "skipped: " + skipped;
    return difference.empty() ? "same bits" : difference;
  }
};

std::vector<std::byte> joined(LayerRun const& run) {
  std::vector<std::byte> all;
  for (auto const& output : run.outputs) all.insert(all.end(), output.begin(), output.end());
  return all;
}

Fingerprint digest_of(std::vector<std::byte> const& bytes) {
  FingerprintBuilder builder;
  builder.add(0, {reinterpret_cast<char const*>(bytes.data()), bytes.size()});
  return builder.result();
}

/// An element's bits, most significant digit first.
std::string hex_of(std::byte const* element, std::size_t size) {
  std::string text = "0x";
  for (std::size_t i = size; i-- > 0;) text += fmt::format("{:02x}", std::to_integer<unsigned>(element[i]));
  return text;
}

/// The rank and its own number of token `token` of all.
std::pair<std::size_t, std::size_t> owner_of(LayerRun const& run, std::size_t token, std::size_t row_bytes) {
  std::size_t rank = 0;
  while (rank + 1 < run.outputs.size() && token * row_bytes >= run.outputs[rank].size()) {
    token -= run.outputs[rank].size() / row_bytes;
    ++rank;
  }
  return {rank, token};
}

std::string first_difference(LayerDescription const& d, LayerRun const& run, std::vector<std::byte> const& got,
                             std::vector<std::byte> const& want) {
  auto const at = std::mismatch(got.begin(), got.end(), want.begin(), want.end());
  if (at.first == got.end()) return "";
  auto const size = static_cast<std::size_t>(size_of(d.mlp.dtype));
  auto const hidden = static_cast<std::size_t>(d.mlp.hidden);
  auto const element = static_cast<std::size_t>(at.first - got.begin()) / size;
  auto const [rank, token] = owner_of(run, element / hidden, hidden * size);
  return fmt::format("rank {}, token {}, column {}: {} instead of {}", rank, token, element % hidden,
                     hex_of(got.data() + element * size, size), hex_of(want.data() + element * size, size));
}

std::vector<LayerVerdict> run_all(LayerDescription const& d, std::vector<std::byte> const& dense,
                                  cpu::Scheduler& scheduler) {
  std::vector<LayerVerdict> verdicts;
  for (cpu::PrepareKind const kind : d.prepares)
    for (int const ep : d.eps)
      for (int const tp : d.tps) {
        ExpertParallelGrid const grid{tp, ep};
        LayerVerdict verdict{{kind, grid, {}}, not_runnable(d, kind, grid)};
        if (verdict.skipped.empty()) {
          verdict.run = run_layer(d, kind, grid, scheduler);
          auto const bytes = joined(verdict.run);
          verdict.digest = digest_of(bytes);
          verdict.difference = first_difference(d, verdict.run, bytes, dense);
        }
        verdicts.push_back(std::move(verdict));
      }
  return verdicts;
}

std::int64_t remote_bytes(LayerRun const& run) {
  return std::accumulate(run.stages.begin(), run.stages.end(), std::int64_t{0},
                         [](std::int64_t sum, StageTotal const& stage) { return sum + stage.remote_bytes; });
}

double total_ms(LayerRun const& run) {
  return std::accumulate(run.ms.begin(), run.ms.end(), 0.0);
}

/// The one run of a description without lists, stage by stage.
std::string stage_tables(LayerRun const& run) {
  TextTable stages({"stage", "rows", "bytes", "from other ranks"});
  for (StageTotal const& stage : run.stages)
    stages.add_row({stage.name, grouped(stage.rows), grouped(stage.bytes), grouped(stage.remote_bytes)});
  stages.add_row({"experts", grouped(run.expert_rows), "", ""});
  TextTable steps({"step", "ms of the slowest rank"});
  for (std::size_t step = 0; step < run.ms.size(); ++step)
    steps.add_row({std::string(kLayerSteps[step]), fmt::format("{:.3f}", run.ms[step])});
  return stages.str() + "\n" + steps.str() + "\n";
}

std::string to_table(std::vector<LayerVerdict> const& verdicts, Fingerprint dense) {
  TextTable table({"way", "ep", "tp", "expert rows", "from other ranks", "ms", "digest", "against one dense rank"});
  for (LayerVerdict const& verdict : verdicts) {
    LayerRun const& run = verdict.run;
    bool const ran = verdict.skipped.empty();
    table.add_row({std::string(to_string(run.kind)), std::to_string(run.grid.ep), std::to_string(run.grid.tp),
                   ran ? grouped(run.expert_rows) : "-", ran ? human_bytes(remote_bytes(run)) : "-",
                   ran ? fmt::format("{:.3f}", total_ms(run)) : "-", ran ? verdict.digest.to_hex() : "-",
                   verdict.text()});
  }
  std::string const details = verdicts.size() == 1 ? stage_tables(verdicts.front().run) : "";
  return details + table.str() + fmt::format("dense rank: {}\n", dense.to_hex());
}

nlohmann::ordered_json json_of(LayerVerdict const& verdict) {
  LayerRun const& run = verdict.run;
  nlohmann::ordered_json one{{"prepare", to_string(run.kind)}, {"ep", run.grid.ep}, {"tp", run.grid.tp}};
  if (!verdict.skipped.empty()) {
    one["skipped"] = verdict.skipped;
    return one;
  }
  one.update({{"expert_rows", run.expert_rows}, {"digest", verdict.digest.to_hex()}});
  one["stages"] = nlohmann::ordered_json::array();
  for (StageTotal const& stage : run.stages)
    one["stages"].push_back(
        {{"stage", stage.name}, {"rows", stage.rows}, {"bytes", stage.bytes}, {"remote_bytes", stage.remote_bytes}});
  for (std::size_t step = 0; step < run.ms.size(); ++step) one["ms"][std::string(kLayerSteps[step])] = run.ms[step];
  one["same_bits"] = verdict.difference.empty();
  if (!verdict.difference.empty()) one["first_difference"] = verdict.difference;
  return one;
}

std::string to_json(std::vector<LayerVerdict> const& verdicts, Fingerprint dense) {
  nlohmann::ordered_json runs = nlohmann::ordered_json::array();
  for (LayerVerdict const& verdict : verdicts) runs.push_back(json_of(verdict));
  nlohmann::ordered_json const root{{"schema_version", 1}, {"dense_digest", dense.to_hex()}, {"runs", runs}};
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

ExitCode run_layer_command(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  bool const threads = options.choice("scheduler", {"cooperative", "threads"}) == "threads";
  LayerDescription const description = read_layer_description(options.text("DESCRIPTION"));
  auto const scheduler = threads ? cpu::make_thread_scheduler() : cpu::make_cooperative_scheduler();
  auto const dense = joined(run_dense(description, *scheduler));
  auto const verdicts = run_all(description, dense, *scheduler);
  fmt::print("{}", json ? to_json(verdicts, digest_of(dense)) : to_table(verdicts, digest_of(dense)));
  bool const good = std::all_of(verdicts.begin(), verdicts.end(),
                                [](LayerVerdict const& verdict) { return verdict.difference.empty(); });
  return good ? ExitCode::ok : ExitCode::found_wrong;
}

}  // namespace

Command layer_command() {
  return {
      "layer",
      "runs a MoE layer on emulated ranks, against one dense rank",
      "Reads a layer from a JSON file, runs its forward pass for every listed way to move rows, EP and TP size, and\n"
      "compares every output bit with a run on one rank that holds all experts whole. Names the first element that\n"
      "differs. Weights, tokens and routing follow from the seed in the file, so equal digests mean equal outputs.\n",
      {{"DESCRIPTION", OptionKind::positional, "DESCRIPTION", "", "the layer and how to run it, JSON"},
       {"scheduler", OptionKind::optional, "cooperative|threads", "threads",
        "all ranks on one thread, or one thread each"},
       format_option()},
      {"switchyard layer layer.json", "switchyard layer layer.json --scheduler cooperative --format json"},
      run_layer_command};
}

}  // namespace switchyard::cli
