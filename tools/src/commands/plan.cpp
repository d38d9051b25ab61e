// SPDX-License-Identifier: Apache-2.0
// switchyard plan: loads in; a placement, a proven transfer plan and its price out.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "commands/commands.hpp"
#include "commands/plan_report.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/placement/policy.hpp"
#include "switchyard/types/topology.hpp"
#include "switchyard/types/version.hpp"

namespace switchyard::cli {
namespace {

constexpr int kMaxRanks = 1 << 16;
constexpr int kMaxSlots = 1 << 24;
constexpr std::int64_t kDeepSeekFp8Bytes = 42 << 20;  // 3 x 7168 x 2048 parameters of one byte

PolicyRequest request_of(ParsedOptions const& options) {
  PolicyRequest request;
  request.num_ranks = options.small_integer("gpus", 1, kMaxRanks);
  request.num_slots = options.small_integer("slots", 1, kMaxSlots);
  request.num_nodes = options.small_integer("nodes", 1, kMaxRanks);
  request.num_groups = options.small_integer("groups", 1, kMaxSlots);
  (void)Topology(request.num_ranks, request.num_nodes);  // refuses GPUs that are not spread evenly
  return request;
}

/// DeepSeek's policy drops its two levels in silence when groups do not fit the nodes: an operator must see that.
std::string policy_note(std::string_view policy, PolicyRequest const& request) {
  if (policy != "deepseek") return std::string(policy);
  if (request.num_groups % request.num_nodes == 0) return "deepseek (hierarchical)";
  return fmt::format("deepseek (global: {} groups do not divide over {} nodes)", request.num_groups, request.num_nodes);
}

/// A placement that a serving system could not run on must not become the start of a plan.
void require_usable(ExpertPlacement const& placement, std::string const& file) {
  auto const violations = validate(placement);
  if (violations.empty()) return;
  throw UsageError(fmt::format("{} breaks {} rule(s), first {}: {}; give the placement that is being served", file,
                               violations.size(), to_string(violations.front().rule), violations.front().text));
}

ExpertPlacement read_current(std::string const& file, ExpertLoad const& load, PolicyRequest const& request) {
  auto placement = io::placement_from_json(io::read_file(file), file, load.num_experts(), request.num_ranks);
  if (placement.num_layers() != load.num_layers() || placement.num_slots() != request.num_slots) {
    throw UsageError(
        fmt::format("{} places {} layers on {} slots, the plan is for {} layers and {} slots: give the "
                    "matching --load and --slots",
                    file, placement.num_layers(), placement.num_slots(), load.num_layers(), request.num_slots));
  }
  require_usable(placement, file);
  return placement;
}

ExpertPlacement current_placement(ParsedOptions const& options, ExpertLoad const& load, ExpertPlacement const& after,
                                  PolicyRequest const& request) {
  if (options.has("current")) return read_current(options.text("current"), load, request);
  return ExpertPlacement::trivial(load.num_layers(), load.num_experts(), after.layout());
}

ExitCode run_plan(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  PolicyRequest const request = request_of(options);
  auto const policy = make_policy(options.choice("policy", policy_names()));
  std::int64_t const expert_bytes = options.integer("expert-bytes", 0, std::int64_t{1} << 40);
  int const experts = options.small_integer("experts", 1, kMaxSlots);

  PlanReport report;
  report.load_name = options.text("load");
  report.source = io::read_expert_load(report.load_name, experts);
  ExpertPlacement const after = policy->place(report.source.load, request);
  ExpertPlacement const before = current_placement(options, report.source.load, after, request);
  RebalancePlan const plan = plan_rebalance(before, after);
  require_valid(plan);

  report.policy = policy->name();
  report.policy_note = policy_note(policy->name(), request);
  report.out = options.text("out");
  report.before = measure_imbalance(report.source.load, before);
  report.after = measure_imbalance(report.source.load, after);
  report.totals = totals(plan);
  report.moves = moves_per_layer(plan);
  report.expert_bytes = expert_bytes;
  report.num_ranks = request.num_ranks;
  report.num_slots = request.num_slots;
  report.fingerprint = plan.fingerprint().to_hex();
  io::PlanNotes const notes{"switchyard " SWITCHYARD_VERSION_STRING, report.policy, report.load_name};
  io::write_file_atomically(report.out, io::to_json(plan, notes));
  fmt::print("{}", json ? to_json(report) : to_table(report, options.has("all-layers")));
  return ExitCode::ok;
}

}  // namespace

Command plan_command() {
  return {
      "plan",
      "plans an expert rebalance from measured loads",
      fmt::format(
          "Reads loads (JSON, SGLang JSON, npy, CSV or JSONL routing records, told apart by content), places the\n"
          "experts with a policy, plans every copy from the current placement, proves the plan, and writes it.\n"
          "Policies: {}.\n",
          fmt::join(policy_names(), ", ")),
      {{"load", OptionKind::required, "FILE", "", "measured loads; several steps are summed"},
       {"experts", OptionKind::required, "E", "", "logical experts per layer"},
       {"gpus", OptionKind::required, "G", "", "ranks that hold experts"},
       {"slots", OptionKind::required, "S", "", "physical expert slots per layer, over all GPUs"},
       {"nodes", OptionKind::optional, "N", "1", "hosts that the GPUs are spread over evenly"},
       {"groups", OptionKind::optional, "K", "1", "expert groups of group-limited routing"},
       {"current", OptionKind::optional, "FILE", "",
        "placement being served: a plan file or {\"physical_to_logical_map\"}; without it slot i holds expert i mod E"},
       {"policy", OptionKind::optional, "NAME", "deepseek", "how experts are placed"},
       {"expert-bytes", OptionKind::optional, "BYTES", fmt::format("{}", kDeepSeekFp8Bytes),
        "weights of one expert of one layer, for the price of the move"},
       {"all-layers", OptionKind::flag, "", "", "show every layer in the table"},
       format_option(),
       {"out", OptionKind::required, "FILE", "", "plan file to write, replaced as a whole"}},
      {"switchyard plan --load load.json --experts 256 --gpus 32 --slots 288 --nodes 4 --groups 8 --out plan.json"},
      run_plan};
}

}  // namespace switchyard::cli
