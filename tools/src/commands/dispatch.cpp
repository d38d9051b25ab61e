// SPDX-License-Identifier: Apache-2.0
// switchyard dispatch: plans the dispatch of a recorded or generated routing and dumps one plan per rank.
#include <fmt/format.h>

#include "commands/commands.hpp"
#include "commands/inspect_report.hpp"
#include "commands/routing_input.hpp"
#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/capacity.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/dispatch/megablocks_planner.hpp"
#include "switchyard/dispatch/recording.hpp"
#include "switchyard/io/dispatch_group_jsonl.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/io/recording_jsonl.hpp"
#include "switchyard/io/routing_reader.hpp"

namespace switchyard::cli {
namespace {

/// What every rank starts from.
struct DispatchInput {
  std::vector<RoutingMap> routings;
  std::vector<CapacityLimit> limits{};  ///< empty = dropless
};

CapacityPolicy capacity_policy(ParsedOptions const& options) {
  CapacityPolicy policy;
  bool const by_probs = options.choice("drop", {"probs", "position"}) == "probs";
  policy.policy = by_probs ? DropPolicy::probs : DropPolicy::position;
  policy.pad_to_capacity = options.has("pad");
  std::string const rule = options.choice("capacity-rule", {"megatron", "megablocks", "exact"});
  for (auto const known : {CapacityRule::megatron, CapacityRule::megablocks, CapacityRule::exact})
    if (to_string(known) == rule) policy.rule = known;
  if (policy.rule == CapacityRule::exact)
    policy.ratio = parse_capacity_ratio(options.text("capacity-factor"));
  else
    policy.factor = options.number("capacity-factor", 0, 1e6);
  return policy;
}

bool is_megablocks(ParsedOptions const& options) {
  return options.text("family") == "megablocks";
}

DispatchInput make_input(ParsedOptions const& options, RoutingMap const& all, int ranks) {
  DispatchInput input{deal_tokens(all, ranks)};
  if (is_megablocks(options)) return input;  // its bins drop where rows arrive
  if (!options.has("capacity-factor")) {
    if (options.has("pad")) throw UsageError("--pad has no meaning without --capacity-factor: give both");
    return input;
  }
  CapacityPolicy const policy = capacity_policy(options);
  for (auto& routing : input.routings) {
    auto limited = apply_capacity(routing, policy, all.top_k());
    routing = std::move(limited.routing);
    input.limits.push_back({limited.capacity, policy.pad_to_capacity});
  }
  return input;
}

/// Bins have the given size, a size that follows from a factor, or that of the rows that came.
RecordedBins read_bins(ParsedOptions const& options) {
  RecordedBins bins;
  if (!is_megablocks(options)) {
    if (options.has("bins")) throw UsageError("--bins has no meaning without --family megablocks: give both");
    return bins;
  }
  for (char const* other : {"pad", "row-order", "tp-extend-ep"})
    if (options.has(other)) throw UsageError(fmt::format("--{} is none of MegaBlocks' options: leave it out", other));
  std::string const kind = options.has("bins")              ? options.choice("bins", {"exact", "capacity", "blocks"})
                           : options.has("capacity-factor") ? "capacity"
                                                            : "exact";
  for (auto const known : {ExpertBins::exact, ExpertBins::capacity, ExpertBins::blocks})
    if (to_string(known) == kind) bins.kind = known;
  if (options.has("capacity-factor") && bins.kind != ExpertBins::capacity)
    throw UsageError(fmt::format("--capacity-factor has no meaning for {} bins: leave one of them out", kind));
  if (options.has("capacity-factor")) bins.capacity_factor = options.number("capacity-factor", 0, 256);
  if (bins.kind == ExpertBins::blocks) bins.block_rows = options.integer("block-rows", 1, 4096);
  return bins;
}

/// What a dispatcher that makes no mistake would record.
std::string recordings_of(InspectReport const& report, ExpertParallelGrid grid, RecordedBins const& bins,
                          DispatchInput const& input, ExpertPlacement const& placement) {
  std::string text;
  auto const& plans = report.dispatch;
  for (auto const& plan : plans) {
    DispatchRecording call;
    call.rank = plan.rank;
    call.grid = grid;
    call.family = plan.setup.family;
    call.bins = bins;
    call.layer = plan.setup.layer;
    call.num_experts = plan.setup.num_experts;
    call.row_order = plan.setup.row_order;
    for (int rank = 0; rank < placement.num_ranks(); ++rank)
      call.slots_per_rank.push_back(placement.layout().slots_of(RankId{rank}));
    for (ExpertId const expert : placement.layer(plan.setup.layer)) call.slot_to_expert.push_back(expert.value());
    call.routing = input.routings[plan.rank.index()];
    if (!input.limits.empty()) call.capacity = plan.capacity;
    call.fields = reference_fields(plans, plan.rank);
    text += io::to_jsonl(call);
  }
  return text;
}

/// The options that fill in every planner's configuration. A family without a given order has its peer's own.
template <typename Config>
Config planner_config(ParsedOptions const& options, ExpertParallelGrid grid) {
  Config config;
  config.grid = grid;
  if (options.has("row-order")) {
    bool const tp_major = options.choice("row-order", {"tp_major", "rank_major"}) == "tp_major";
    config.row_order = tp_major ? RowOrder::tp_major : RowOrder::rank_major;
  }
  return config;
}

std::vector<DispatchPlan> plan_family(ParsedOptions const& options, ExpertParallelGrid grid, DispatchInput const& input,
                                      RecordedBins const& bins, ExpertPlacement const& placement, int layer) {
  std::string const family = options.choice("family", {"alltoall", "allgather", "flex", "megablocks"});
  if (family == "megablocks") {
    MegaBlocksConfig config;
    config.world = grid.world();
    config.bins = bins.kind;
    config.block_rows = bins.block_rows;
    config.capacity_factor = bins.capacity_factor;
    return plan_megablocks_group(config, input.routings, placement, layer);
  }
  if (family == "allgather")
    return plan_allgather_group(planner_config<AllGatherConfig>(options, grid), input.routings, placement, layer,
                                input.limits);
  if (family == "flex")
    return plan_flex_group(planner_config<FlexConfig>(options, grid), input.routings, placement, layer, input.limits);
  return plan_alltoall_group(planner_config<AllToAllConfig>(options, grid), input.routings, placement, layer,
                             input.limits);
}

ExpertParallelGrid read_grid(ParsedOptions const& options) {
  ExpertParallelGrid const grid{options.small_integer("tp", 1, kMaxRoutingRanks),
                                options.small_integer("ep", 1, kMaxRoutingRanks)};
  if (std::int64_t{grid.tp} * grid.ep > kMaxRoutingRanks) {
    throw UsageError(fmt::format("--tp x --ep is {} ranks: at most {} are planned", std::int64_t{grid.tp} * grid.ep,
                                 kMaxRoutingRanks));
  }
  if (!options.has("tp-extend-ep")) return grid;
  if (options.text("family") != "alltoall")
    throw UsageError("--tp-extend-ep is an option of the AlltoAll dispatcher: leave it out or plan that family");
  return grid.extended_over_tp();
}

ExitCode run_dispatch(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  ExpertParallelGrid const grid = read_grid(options);
  int const layer = options.small_integer("layer", 0, kMaxRoutingExperts);
  int const experts = options.has("experts") ? options.small_integer("experts", 1, kMaxRoutingExperts) : 0;
  std::string const file = options.text("routing");
  RecordedBins const bins = read_bins(options);
  RoutingMap const all = io::read_routing(file, layer, experts).routing;
  DispatchInput const input = make_input(options, all, grid.world());
  ExpertPlacement const placement = placement_of(options, all.num_experts(), grid.ep, layer);

  InspectReport report;
  report.file = options.text("out");
  report.group = true;
  report.dispatch = plan_family(options, grid, input, bins, placement, layer);
  find_violations(report);
  io::write_file_atomically(report.file, io::to_jsonl(report.dispatch));
  if (options.has("record"))
    io::write_file_atomically(options.text("record"), recordings_of(report, grid, bins, input, placement));
  fmt::print("{}", json ? to_json(report) : to_table(report));
  return report.good() ? ExitCode::ok : ExitCode::found_wrong;
}

}  // namespace

Command dispatch_command() {
  return {
      "dispatch",
      "plans the dispatch of a routing, one plan per rank",
      "Deals the tokens of a routing recording to tp x ep ranks in blocks, drops and pads when a capacity is given,\n"
      "plans one of Megatron's dispatchers or MegaBlocks' for every rank, and writes the plans of the group, one per\n"
      "line.\n",
      {{"routing", OptionKind::required, "FILE", "", "routing recording (JSONL), see 'switchyard generate routing'"},
       {"ep", OptionKind::required, "EP", "", "expert-parallel ranks"},
       {"tp", OptionKind::optional, "TP", "1", "tensor-parallel ranks of every expert; MegaBlocks: hidden shards"},
       {"experts", OptionKind::optional, "E", "", "logical experts, when the recording does not say"},
       {"layer", OptionKind::optional, "N", "0", "layer of the recording and of the placement"},
       {"placement", OptionKind::optional, "FILE", "",
        "a placement or plan file; without it experts lie in contiguous blocks"},
       {"tp-extend-ep", OptionKind::flag, "", "",
        "alltoall: every TP rank is an EP rank of its own and holds whole experts (MindSpeed)"},
       {"family", OptionKind::optional, "alltoall|allgather|flex|megablocks", "alltoall",
        "whose dispatcher: Megatron's three, or MegaBlocks'"},
       {"bins", OptionKind::optional, "exact|capacity|blocks", "",
        "megablocks: how an expert's rows lie; without it exact, or capacity when a factor is given"},
       {"block-rows", OptionKind::optional, "N", "128", "megablocks: rows of a block"},
       {"row-order", OptionKind::optional, "tp_major|rank_major", "",
        "order of an expert's rows; without it tp_major for alltoall, rank_major for the others"},
       {"capacity-factor", OptionKind::optional, "X", "", "limits every expert per source rank; dropless without it"},
       {"capacity-rule", OptionKind::optional, "megatron|megablocks|exact", "megatron", "how the factor is rounded"},
       {"drop", OptionKind::optional, "probs|position", "probs", "which tokens a full expert keeps"},
       {"pad", OptionKind::flag, "", "", "fill every expert up to its capacity"},
       {"record", OptionKind::optional, "FILE", "", "also write what a dispatcher without mistakes would record"},
       format_option(),
       {"out", OptionKind::required, "FILE", "", "group file to write, replaced as a whole"}},
      {"switchyard dispatch --routing routing.jsonl --ep 4 --tp 2 --out group.jsonl",
       "switchyard dispatch --routing routing.jsonl --ep 8 --capacity-factor 1.25 --pad --out group.jsonl"},
      run_dispatch};
}

}  // namespace switchyard::cli
