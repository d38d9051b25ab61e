// SPDX-License-Identifier: Apache-2.0
// switchyard memory: what an expert-parallel layer takes on a rank, before anything is allocated.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/suggest.hpp"
#include "commands/commands.hpp"
#include "commands/memory_report.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/io/routing_reader.hpp"

namespace switchyard::cli {
namespace {

constexpr int kMaxCount = 1 << 24;
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;
constexpr int kMaxSize = 1 << 30;

template <typename Named>
std::vector<std::string> names_of(std::vector<Named> const& all) {
  std::vector<std::string> names;
  for (Named const& one : all) names.push_back(one.name);
  return names;
}

/// The preset, if one is named, with what the options change; without a preset the sizes must be given.
MoeShape shape_of(ParsedOptions const& options) {
  MoeShape shape;
  shape.name = "custom";
  if (options.has("model")) shape = *find_moe_shape(options.choice("model", names_of(moe_shape_presets())));
  for (char const* const size : {"hidden", "intermediate", "experts", "topk"})
    if (!options.has("model") && !options.has(size))
      throw UsageError(fmt::format("--{} is missing: give all four sizes or a --model", size));
  if (options.has("hidden")) shape.hidden = options.integer("hidden", 1, kMaxSize);
  if (options.has("intermediate")) shape.intermediate = options.integer("intermediate", 1, kMaxSize);
  if (options.has("experts")) shape.experts = options.small_integer("experts", 1, kMaxCount);
  if (options.has("topk")) shape.top_k = options.small_integer("topk", 1, kMaxCount);
  if (options.has("layers")) shape.layers = options.small_integer("layers", 1, kMaxCount);
  if (options.has("shared-experts")) shape.shared_experts = options.small_integer("shared-experts", 0, kMaxCount);
  if (options.has("plain")) shape.gated = false;
  if (options.has("biases")) shape.biases = true;
  return shape;
}

std::vector<std::string> quant_names() {
  std::vector<std::string> names = {"none"};
  for (QuantScheme const scheme : kAllQuantSchemes) {
    QuantSpec spec;
    spec.scheme = scheme;
    if (spec.scales_per_row()) names.emplace_back(to_string(scheme));
  }
  return names;
}

std::optional<QuantSpec> quant_of(ParsedOptions const& options) {
  std::string const name = options.choice("quant", quant_names());
  if (name == "none") return std::nullopt;
  QuantSpec spec;
  spec.scheme = *parse_quant_scheme(name);
  return spec;
}

RebalanceStaging staging_of(ParsedOptions const& options) {
  std::string const name = options.choice("staging", {"none", "buffered", "in-place"});
  if (name == "none") return RebalanceStaging::none;
  return name == "buffered" ? RebalanceStaging::buffered : RebalanceStaging::in_place;
}

/// A routing fixes tokens per rank, top-k and what every rank gets.
void read_routed_rows(ParsedOptions const& options, MemoryRequest& request) {
  auto const read =
      io::read_routing(options.text("routing"), options.small_integer("layer", 0, kMaxCount), request.shape.experts);
  if (read.routing.top_k() != request.shape.top_k)
    throw UsageError(fmt::format("--routing {} has top-{}, the model top-{}: give --topk", options.text("routing"),
                                 read.routing.top_k(), request.shape.top_k));
  request.routed = count_routed_rows(read.routing, request.grid);
  request.tokens_per_rank = read.routing.num_tokens() / request.grid.world();
}

MemoryRequest request_of(ParsedOptions const& options) {
  MemoryRequest request;
  request.shape = shape_of(options);
  request.grid.ep = options.small_integer("ep", 1, kMaxCount);
  request.grid.tp = options.small_integer("tp", 1, 8);
  request.tokens_per_rank = options.integer("tokens", 0, kMaxTokens);
  if (options.has("slots")) request.slots = options.small_integer("slots", 1, kMaxCount);
  request.dtype = *parse_dtype(options.choice("dtype", {"bf16", "f16", "f32"}));
  request.quant = quant_of(options);
  request.weights = *find_weight_format(options.choice("weights", names_of(weight_formats())));
  request.staging = staging_of(options);
  request.spare_rows = options.small_integer("spare-rows", 0, kMaxCount);
  if (options.has("routing")) read_routed_rows(options, request);
  return request;
}

/// The layer that a rank's exact engine computes.
ExpertMlp engine_mlp(MemoryRequest const& request) {
  ExpertMlp mlp;
  mlp.hidden = request.shape.hidden;
  mlp.intermediate = request.shape.intermediate;
  mlp.dtype = request.dtype;
  mlp.activation.layout = request.shape.gated ? GateLayout::split : GateLayout::plain;
  mlp.tp.size = request.grid.tp;
  mlp.num_local_experts = 1;  // the workspace serves one expert at a time
  return mlp;
}

void keep_family(std::string const& name, MemoryPlan& plan) {
  if (name == "all") return;
  auto const other = [&](FamilyMemory const& family) { return family.name != name; };
  plan.families.erase(std::remove_if(plan.families.begin(), plan.families.end(), other), plan.families.end());
  if (plan.families.empty()) throw UsageError(fmt::format("--family {} is for --tp 1 only", name));
}

ExitCode run_memory(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  std::string const family =
      options.choice("family", {"all", "allgather", "alltoall", "flex", "megablocks", "low_latency"});
  MemoryReport report;
  report.request = request_of(options);
  cpu::ExactExperts const engine(engine_mlp(report.request));
  report.request.engine = &engine;
  report.plan = plan_memory(report.request);
  keep_family(family, report.plan);
  report.request.engine = nullptr;
  fmt::print("{}", json ? to_json(report) : to_table(report));
  return ExitCode::ok;
}

}  // namespace

Command memory_command() {
  return {"memory",
          "says what an expert-parallel layer takes on a rank",
          fmt::format(
              "Weights, send and receive buffers of every dispatcher family, the exact engine's workspace, DeepEP's\n"
              "low-latency buffer and the staging of a rebalance, in bytes of the busiest rank with the formula in\n"
              "words: expected when tokens choose uniformly, in the worst case, and of a routing that is given\n"
              "(docs/memory.md). Models: {}.\n",
              fmt::join(names_of(moe_shape_presets()), ", ")),
          {{"model", OptionKind::optional, "NAME", "", "preset of the sizes below, which may then change it"},
           {"hidden", OptionKind::optional, "H", "", "hidden size"},
           {"intermediate", OptionKind::optional, "I", "", "intermediate size of one expert"},
           {"experts", OptionKind::optional, "E", "", "logical experts of a layer"},
           {"topk", OptionKind::optional, "K", "", "experts per token"},
           {"layers", OptionKind::optional, "N", "", "layers with experts (without a model 1)"},
           {"shared-experts", OptionKind::optional, "N", "", "of a layer, as large as the others"},
           {"plain", OptionKind::flag, "", "", "experts without a gate"},
           {"biases", OptionKind::flag, "", "", "experts with biases, of the row dtype"},
           {"ep", OptionKind::optional, "EP", "8", "expert-parallel ranks"},
           {"tp", OptionKind::optional, "TP", "1", "tensor-parallel ranks per EP rank: 1, 2, 4 or 8"},
           {"tokens", OptionKind::optional, "T", "4096", "most tokens of a rank in one step"},
           {"slots", OptionKind::optional, "P", "", "physical experts of the group; without it as many as experts"},
           {"dtype", OptionKind::optional, "bf16|f16|f32", "bf16", "of rows"},
           {"quant", OptionKind::optional, "NAME", "none",
            fmt::format("rows as they are sent: {}", fmt::join(quant_names(), ", "))},
           {"weights", OptionKind::optional, "NAME", "bf16",
            fmt::format("expert weights: {}", fmt::join(names_of(weight_formats()), ", "))},
           {"staging", OptionKind::optional, "none|buffered|in-place", "buffered", "what totals count for a rebalance"},
           {"spare-rows", OptionKind::optional, "N", "1", "slots of one layer that moving in place may use"},
           {"routing", OptionKind::optional, "FILE", "",
            "routing recording of all ranks' tokens, rank ascending: exact sizes, and the number of tokens"},
           {"layer", OptionKind::optional, "N", "0", "of the recording"},
           {"family", OptionKind::optional, "NAME", "all", "allgather, alltoall, flex, megablocks, low_latency"},
           format_option()},
          {"switchyard memory --model deepseek-v3 --ep 32 --slots 288 --tokens 128 --weights fp8_block",
           "switchyard memory --hidden 4096 --intermediate 1536 --experts 128 --topk 8 --ep 8 --format json"},
          run_memory};
}

}  // namespace switchyard::cli
