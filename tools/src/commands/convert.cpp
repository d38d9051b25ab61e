// SPDX-License-Identifier: Apache-2.0
// switchyard convert: loads, placements and routings from one system's format into another's.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/suggest.hpp"
#include "commands/commands.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/load_reader.hpp"
#include "switchyard/io/load_writer.hpp"
#include "switchyard/io/placement_formats.hpp"
#include "switchyard/io/route_trace.hpp"

namespace switchyard::cli {
namespace {

constexpr int kMaxCount = 1 << 24;

struct Conversion {
  std::vector<std::string> inputs;
  std::string from;  ///< format that the input must have; empty = any
  std::string to;
  std::string out;
  int experts = 0;
  int gpus = 0;
  int first_layer = -1;  ///< -1 = as in the input
  bool sum_steps = false;
};

/// What was read, for the report.
struct Summary {
  std::string format;
  std::string what;
  std::int64_t skipped = 0;
};

bool is_one_of(std::vector<std::string> const& names, std::string const& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The name that the same format has when it is written; readers' names have underscores.
std::string load_format_name(io::LoadFormat format) {
  if (format == io::LoadFormat::jsonl_routing) return std::string(io::to_string(io::RouteFormat::routing_jsonl));
  std::string text(io::to_string(format));
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

void require_format(Conversion const& task, std::string const& file, std::string const& found) {
  if (!task.from.empty() && task.from != found)
    throw UsageError(
        fmt::format("{} is {}, --from says {}: give the right file or leave --from out", file, found, task.from));
}

void require_one_input(Conversion const& task) {
  if (task.inputs.size() > 1)
    throw UsageError(fmt::format("{} input files: only loads of several ranks are added up, give one file for {}",
                                 task.inputs.size(), task.to));
}

ExpertLoad sum_of(ExpertLoad const& a, ExpertLoad const& b, std::string const& file) {
  bool const same =
      a.num_steps() == b.num_steps() && a.num_layers() == b.num_layers() && a.num_experts() == b.num_experts();
  if (!same)
    throw UsageError(fmt::format(
        "{} has {} x {} x {} (steps x layers x experts), the files before it {} x {} x {}: give "
        "the files of all ranks of one recording, and --experts",
        file, b.num_steps(), b.num_layers(), b.num_experts(), a.num_steps(), a.num_layers(), a.num_experts()));
  std::vector<double> values(a.values().begin(), a.values().end());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += b.values()[i];
  return {a.num_steps(), a.num_layers(), a.num_experts(), std::move(values)};
}

io::LoadOutput load_output(std::string const& name) {
  using io::LoadOutput;
  for (LoadOutput const output :
       {LoadOutput::json, LoadOutput::sglang_json, LoadOutput::npy, LoadOutput::csv, LoadOutput::vllm_stats})
    if (to_string(output) == name) return output;
  return LoadOutput::trtllm_stats;
}

Summary convert_loads(Conversion const& task, std::string& text) {
  Summary summary;
  ExpertLoad load;
  int first_layer = task.first_layer;
  for (std::string const& file : task.inputs) {
    auto const read = io::read_expert_load(file, task.experts);
    summary.format = load_format_name(read.format);
    require_format(task, file, summary.format);
    summary.skipped += read.dropped_other + read.dropped_profiling;
    load = load.num_steps() == 0 ? read.load : sum_of(load, read.load, file);
    if (first_layer < 0) first_layer = read.first_layer;
  }
  if (task.sum_steps) load = load.summed();
  text = io::write_load(load, load_output(task.to), first_layer);
  summary.what = fmt::format("loads of {} x {} x {} (steps x layers x experts)", load.num_steps(), load.num_layers(),
                             load.num_experts());
  return summary;
}

Summary convert_placement(Conversion const& task, std::string& text) {
  require_one_input(task);
  auto const read = io::read_placement(task.inputs.front(), task.experts, task.gpus);
  Summary summary;
  summary.format = io::to_string(read.format);
  require_format(task, task.inputs.front(), summary.format);
  ExpertPlacement const& placement = read.placement;
  auto const violations = validate(placement);
  if (!violations.empty())
    throw UsageError(fmt::format("{} breaks {} rule(s), first {}: {}; if experts are missing, give --experts",
                                 task.inputs.front(), violations.size(), to_string(violations.front().rule),
                                 violations.front().text));
  text = io::write_placement(placement, task.to, task.first_layer >= 0 ? task.first_layer : read.first_layer);
  summary.what = fmt::format("placement of {} layers, {} experts on {} slots of {} GPUs", placement.num_layers(),
                             placement.num_experts(), placement.num_slots(), placement.num_ranks());
  return summary;
}

Summary convert_routing(Conversion const& task, std::string& text) {
  require_one_input(task);
  std::string const& file = task.inputs.front();
  auto const trace = io::parse_route_trace(io::read_file(file), file, task.experts);
  Summary summary;
  summary.format = io::to_string(trace.format);
  require_format(task, file, summary.format);
  std::size_t tokens = 0;
  for (auto const& block : trace.blocks) tokens += block.ids.size() / static_cast<std::size_t>(block.top_k);
  bool const megatron = task.to == io::to_string(io::RouteFormat::megatron_trace);
  text = io::write_route_trace(trace, megatron ? io::RouteFormat::megatron_trace : io::RouteFormat::routing_jsonl);
  summary.skipped = trace.dropped_other + trace.dropped_profiling;
  summary.what = fmt::format("routing of {} tokens x layers in {} blocks", tokens, trace.blocks.size());
  return summary;
}

Summary convert(Conversion const& task, std::string& text) {
  if (is_one_of(io::load_output_names(), task.to)) return convert_loads(task, text);
  if (is_one_of(io::placement_output_names(), task.to)) return convert_placement(task, text);
  return convert_routing(task, text);
}

std::vector<std::string> output_names() {
  std::vector<std::string> names = io::load_output_names();
  for (auto const& more : {io::placement_output_names(), io::route_format_names()})
    names.insert(names.end(), more.begin(), more.end());
  return names;
}

std::vector<std::string> input_names() {
  std::vector<std::string> names = output_names();
  for (char const* only_read : {"sglang-pt", "plan"}) names.emplace_back(only_read);
  return names;
}

ExitCode run_convert(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  Conversion task;
  task.inputs = options.list("IN");
  task.to = options.choice("to", output_names());
  if (options.has("from")) task.from = options.choice("from", input_names());
  task.out = options.text("out");
  if (options.has("experts")) task.experts = options.small_integer("experts", 1, kMaxCount);
  if (options.has("gpus")) task.gpus = options.small_integer("gpus", 1, kMaxCount);
  if (options.has("first-layer")) task.first_layer = options.small_integer("first-layer", 0, kMaxCount);
  task.sum_steps = options.has("sum-steps");
  std::string text;
  Summary const summary = convert(task, text);
  io::write_file_atomically(task.out, text);
  if (json) {
    nlohmann::ordered_json const root{{"schema_version", 1},  {"from", summary.format},     {"to", task.to},
                                      {"what", summary.what}, {"skipped", summary.skipped}, {"bytes", text.size()},
                                      {"out", task.out}};
    fmt::print("{}\n", root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    fmt::print("read   {} ({}), {} records skipped\nwrote  {} ({}): {}\n", fmt::join(task.inputs, ", "), summary.format,
               summary.skipped, task.out, task.to, summary.what);
  }
  return ExitCode::ok;
}

}  // namespace

Command convert_command() {
  return {
      "convert",
      "turns loads, placements and routings into another system's format",
      fmt::format("Loads (read also from sglang-pt, routing records and Megatron traces): {}.\n"
                  "Placements (read also from plan files, vllm-stats and per_pass sglang-pt): {}.\n"
                  "Routings: {}. The format that is read is told by content.\n",
                  fmt::join(io::load_output_names(), ", "), fmt::join(io::placement_output_names(), ", "),
                  fmt::join(io::route_format_names(), ", ")),
      {{"to", OptionKind::required, "NAME", "", "format to write; it decides what is read from the input"},
       {"out", OptionKind::required, "FILE", "", "file to write, replaced as a whole"},
       {"from", OptionKind::optional, "NAME", "", "refuse an input of another format"},
       {"experts", OptionKind::optional, "E", "", "logical experts; without it what the file says"},
       {"gpus", OptionKind::optional, "G", "",
        "ranks that the slots belong to, for placements whose file does not say"},
       {"first-layer", OptionKind::optional, "N", "",
        "id of the first MoE layer in what is written; as read by default"},
       {"sum-steps", OptionKind::flag, "", "", "add the steps of a load up to one"},
       format_option(),
       {"IN", OptionKind::positional, "IN...", "", "file to read; loads of several files (ranks) are added up", true}},
      {"switchyard convert recording.pt --to csv --out loads.csv",
       "switchyard convert plan.json --to trtllm-yaml --first-layer 3 --out eplb.yaml",
       "switchyard convert rank0.safetensors rank1.safetensors --to npy --out hotness.npy"},
      run_convert};
}

}  // namespace switchyard::cli
