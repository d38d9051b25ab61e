// SPDX-License-Identifier: Apache-2.0
// switchyard generate: seeded synthetic loads and routings, as files that the other commands and the peers read.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/suggest.hpp"
#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/load_reader.hpp"
#include "switchyard/sim/load_generator.hpp"
#include "switchyard/sim/routing_generator.hpp"
#include "switchyard/sim/workload.hpp"

namespace switchyard::cli {
namespace {

constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;

/// Values the preset brings unless the user gave the option.
template <typename T, typename Read>
void override_with(ParsedOptions const& options, std::string const& name, T& field, Read read) {
  if (options.has(name)) field = static_cast<T>(read(name));
}

sim::LoadSpec load_spec(ParsedOptions const& options) {
  sim::LoadSpec spec = sim::load_preset(options.choice("preset", sim::load_preset_names()));
  auto const integer = [&](std::int64_t min, std::int64_t max) {
    return [&options, min, max](std::string const& name) { return options.integer(name, min, max); };
  };
  auto const amount = [&](std::string const& name) { return options.number(name, 0, 5); };
  override_with(options, "steps", spec.num_steps, integer(1, 1 << 20));
  override_with(options, "layers", spec.num_layers, integer(1, 1 << 20));
  override_with(options, "experts", spec.num_experts, integer(1, 1 << 20));
  override_with(options, "topk", spec.top_k, integer(1, 4096));
  override_with(options, "tokens", spec.tokens_per_step, integer(0, kMaxTokens));
  override_with(options, "seed", spec.seed, integer(0, INT64_MAX));
  override_with(options, "drift", spec.drift_sigma, amount);
  override_with(options, "domains", spec.num_domains, integer(1, 1 << 20));
  override_with(options, "domain-sigma", spec.domain_sigma, amount);
  if (options.has("sigma")) spec.sigma = {{0.0, options.number("sigma", 0, 5)}};
  if (options.has("zipf")) {
    spec.law = sim::PopularityLaw::zipf;
    spec.zipf_s = options.number("zipf", 0, 5);
  }
  if (options.has("sampling")) {
    bool const sampled = options.choice("sampling", {"expected", "sampled"}) == "sampled";
    spec.sampling = sampled ? sim::LoadSampling::sampled : sim::LoadSampling::expected;
  }
  return spec;
}

ExitCode generate_load_file(ParsedOptions const& options) {
  ExpertLoad const load = sim::generate_load(load_spec(options));
  std::string const text = io::to_json(load);
  io::write_file_atomically(options.text("out"), text);
  fmt::print("wrote {}: load of {} x {} x {} (steps x layers x experts), {}\n", options.text("out"), load.num_steps(),
             load.num_layers(), load.num_experts(), human_bytes(static_cast<std::int64_t>(text.size())));
  return ExitCode::ok;
}

std::uint64_t seed_of(ParsedOptions const& options) {
  return options.has("seed") ? static_cast<std::uint64_t>(options.integer("seed", 0, INT64_MAX)) : 1;
}

/// Where the values of a routing start from, as its file says it.
std::string origin_of(ParsedOptions const& options) {
  if (!options.has("workload")) return fmt::format("\"preset\": \"{}\"", options.text("preset"));
  return fmt::format("\"workload\": \"{}\", \"step\": {}", options.text("workload"), options.text("step"));
}

std::string routing_header(sim::RoutingSpec const& spec, ParsedOptions const& options) {
  return fmt::format(
      "{{\"type\": \"meta\", \"generator\": \"switchyard generate\", {}, \"seed\": {}, \"ranks\": {}, "
      "\"layers_logged\": [0], \"top_k\": {}, \"num_experts\": {}}}\n",
      origin_of(options), seed_of(options), spec.tokens_of_rank.size(), spec.top_k, spec.expert_weights.size());
}

void append_token(std::string& text, RoutingMap const& map, std::size_t rank, std::int64_t token) {
  auto const k = static_cast<std::size_t>(map.top_k());
  auto const first = static_cast<std::size_t>(token) * k;
  fmt::format_to(std::back_inserter(text),
                 "{{\"type\": \"route\", \"req_id\": \"rank{}\", \"token_idx\": {}, \"layer\": 0, \"topk_ids\": [",
                 rank, token);
  for (std::size_t i = 0; i < k; ++i) {
    fmt::format_to(std::back_inserter(text), "{}{}", i == 0 ? "" : ", ", map.ids()[first + i]);
  }
  text += "], \"topk_weights\": [";
  for (std::size_t i = 0; i < k; ++i) {
    fmt::format_to(std::back_inserter(text), "{}{}", i == 0 ? "" : ", ", map.weights()[first + i]);
  }
  text += "]}\n";
}

sim::RoutingSpec named_routing(ParsedOptions const& options, sim::RoutingShape const& shape, std::uint64_t seed) {
  if (options.has("preset") == options.has("workload"))
    throw UsageError("a routing starts from --preset NAME or from --workload W0 to W7: give one of them");
  if (options.has("workload")) {
    auto const workload = sim::parse_workload(options.choice("workload", sim::workload_names()));
    return sim::workload_spec(workload, shape, seed, options.small_integer("step", 0, (1 << 28) - 1));
  }
  return sim::routing_preset(sim::parse_routing_preset(options.choice("preset", sim::routing_preset_names())), shape,
                             seed);
}

sim::RoutingSpec routing_spec(ParsedOptions const& options) {
  sim::RoutingShape shape;
  shape.num_ranks = options.has("ranks") ? options.small_integer("ranks", 1, 1 << 16) : shape.num_ranks;
  shape.num_experts = options.has("experts") ? options.small_integer("experts", 1, 1 << 20) : shape.num_experts;
  shape.top_k = options.has("topk") ? options.small_integer("topk", 1, 4096) : shape.top_k;
  if (options.has("tokens")) shape.tokens_per_rank = options.integer("tokens", 0, 1 << 24);
  auto spec = named_routing(options, shape, seed_of(options));
  if (options.has("stickiness")) spec.stickiness = options.number("stickiness", 0, 0.999);
  if (options.has("domains")) spec.num_domains = options.small_integer("domains", 1, 1 << 20);
  if (options.has("domain-sigma")) spec.domain_sigma = options.number("domain-sigma", 0, 5);
  if (options.has("groups")) spec.num_groups = options.small_integer("groups", 1, 1 << 20);
  if (options.has("top-groups")) spec.top_groups = options.small_integer("top-groups", 1, 1 << 20);
  return spec;
}

ExitCode generate_routing_file(ParsedOptions const& options) {
  sim::RoutingSpec const spec = routing_spec(options);
  auto const maps = sim::generate_routing(spec);
  std::string text = routing_header(spec, options);
  std::int64_t tokens = 0;
  for (std::size_t rank = 0; rank < maps.size(); ++rank) {
    for (std::int64_t token = 0; token < maps[rank].num_tokens(); ++token) append_token(text, maps[rank], rank, token);
    tokens += maps[rank].num_tokens();
  }
  io::write_file_atomically(options.text("out"), text);
  fmt::print("wrote {}: routing of {} tokens on {} ranks, top-{} of {} experts, {}\n", options.text("out"),
             grouped(tokens), maps.size(), spec.top_k, spec.expert_weights.size(),
             human_bytes(static_cast<std::int64_t>(text.size())));
  return ExitCode::ok;
}

/// An option of the other kind would be ignored in silence.
void refuse(ParsedOptions const& options, std::vector<std::string> const& names, std::string const& kind) {
  for (std::string const& name : names) {
    if (options.has(name)) throw UsageError(fmt::format("--{} has no meaning for a {}: remove it", name, kind));
  }
}

ExitCode run_generate(ParsedOptions const& options) {
  std::string const kind = options.text("KIND");
  if (kind == "load") {
    refuse(options, {"ranks", "stickiness", "workload", "groups", "top-groups"}, kind);
    if (!options.has("preset")) throw UsageError("--preset is missing: a load starts from one");
    return generate_load_file(options);
  }
  if (kind == "routing") {
    refuse(options, {"steps", "layers", "sigma", "zipf", "drift", "sampling"}, kind);
    return generate_routing_file(options);
  }
  throw UsageError(fmt::format("cannot generate '{}': {}", kind, did_you_mean(kind, {"load", "routing"})));
}

}  // namespace

Command generate_command() {
  auto const option = [](char const* name, char const* value, std::string const& help) {
    return OptionSpec{name, OptionKind::optional, value, "", help};
  };
  return {"generate",
          "writes a seeded synthetic load or routing",
          fmt::format("KIND is 'load' (JSON, [steps][layers][experts]) or 'routing' (JSONL, one record per token).\n"
                      "The same options give the same bytes on every machine.\n"
                      "Presets of a load: {}.\nPresets of a routing: {}.\nWorkloads of a routing: {}.\n",
                      fmt::join(sim::load_preset_names(), ", "), fmt::join(sim::routing_preset_names(), ", "),
                      fmt::join(sim::workload_names(), ", ")),
          {{"KIND", OptionKind::positional, "KIND", "", "what to generate: load or routing"},
           option("preset", "NAME", "where the values below start from"),
           option("workload", "W0..W7", "routing: a named workload instead of a preset"),
           {"step", OptionKind::optional, "N", "0", "routing: which step of the workload"},
           {"out", OptionKind::required, "FILE", "", "file to write"},
           {"seed", OptionKind::optional, "N", "", "seed of all random numbers; the preset's own, or 1, without it"},
           option("experts", "E", "logical experts per layer"),
           option("topk", "K", "experts per token"),
           option("tokens", "T", "tokens per step over all ranks (load) or per rank (routing)"),
           option("steps", "S", "load: recording steps"),
           option("layers", "L", "load: MoE layers"),
           option("sigma", "X", "load: log-normal skew of every layer"),
           option("zipf", "X", "load: Zipf law with this exponent instead (a stress case)"),
           option("drift", "X", "load: random walk of log popularity per step"),
           option("domains", "N", "kinds of traffic (load) or requests (routing) with hot sets of their own"),
           option("domain-sigma", "X", "how far these kinds differ"),
           option("sampling", "MODE", "load: expected or sampled counts"),
           option("ranks", "R", "routing: ranks that hold tokens"),
           option("stickiness", "X", "routing: chance that a token keeps its predecessor's draw"),
           option("groups", "N", "routing: blocks of experts for group-limited choices"),
           option("top-groups", "N", "routing: blocks among which a token chooses")},
          {"switchyard generate load --preset deepseek-r1 --out load.json",
           "switchyard generate routing --preset ragged --ranks 8 --experts 64 --out routing.jsonl",
           "switchyard generate routing --workload W6 --step 3 --ranks 16 --experts 256 --out hot.jsonl"},
          run_generate};
}

}  // namespace switchyard::cli
