// SPDX-License-Identifier: Apache-2.0
#include "planning/plan_inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "cli/lists.hpp"
#include "switchyard/io/placement_formats.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/objective.hpp"
#include "switchyard/types/topology.hpp"

namespace switchyard::cli {
namespace {

constexpr std::int64_t kDeepSeekFp8Bytes = 42 << 20;  // 3 x 7168 x 2048 parameters of one byte
constexpr double kMaxRate = 1e6;                      // GB/s
constexpr double kBytesPerUsOfGb = 1000;

std::vector<RankId> rank_list(std::string const& name, std::string const& text, int num_ranks) {
  std::vector<RankId> ranks;
  for (std::int64_t const rank : integer_list(name, text, 0, num_ranks - 1))
    ranks.emplace_back(static_cast<std::int32_t>(rank));
  std::sort(ranks.begin(), ranks.end());
  if (std::adjacent_find(ranks.begin(), ranks.end()) != ranks.end())
    throw UsageError(fmt::format("--{} is '{}': name every GPU once", name, text));
  return ranks;
}

void read_slots(ParsedOptions const& options, PolicyRequest& request) {
  if (!options.has("slots-per-gpu")) {
    if (!options.has("slots")) throw UsageError("--slots is missing: give --slots S, or --slots-per-gpu LIST");
    request.num_slots = options.small_integer("slots", 1, kMaxSlots);
    return;
  }
  if (options.has("slots")) throw UsageError("--slots and --slots-per-gpu are both given: keep one");
  std::vector<std::int32_t> counts;
  for (std::int64_t const count : integer_list("slots-per-gpu", options.text("slots-per-gpu"), 0, kMaxSlots))
    counts.push_back(static_cast<std::int32_t>(count));
  if (counts.size() != static_cast<std::size_t>(request.num_ranks))
    throw UsageError(fmt::format("--slots-per-gpu names {} GPUs, --gpus is {}: give one count for each", counts.size(),
                                 request.num_ranks));
  request.slot_layout = SlotLayout(counts);
  request.num_slots = request.slot_layout->num_slots();
}

void read_window(ParsedOptions const& options, PolicyRequest& request) {
  std::string const window = options.text("window");
  if (window == "sum") return;
  if (window == "mean") {
    request.window.statistic = LoadStatistic::mean;
  } else if (window.starts_with("mean+")) {
    request.window.statistic = LoadStatistic::mean_deviations;
    request.window.deviations = number_list("window", window.substr(5), 0, 100).front();
  } else if (window.starts_with("p")) {
    request.window.statistic = LoadStatistic::percentile;
    request.window.percentile = number_list("window", window.substr(1), 1e-9, 100).front();
  } else {
    throw UsageError(
        fmt::format("--window is '{}': give sum, mean, mean+X (standard deviations) or pX (percentile)", window));
  }
}

/// A backtest has no such option: its GPUs stay.
bool is_scaling(ParsedOptions const& options) {
  return options.has("scale") && options.text("scale") != "none";
}

/// Which old rank becomes which new one. Scaling up keeps the numbers; scaling down closes the gaps.
RankMapping read_mapping(ParsedOptions const& options, int old_ranks, int new_ranks) {
  std::string const scale = options.has("scale") ? options.choice("scale", {"none", "up", "down"}) : "none";
  if (scale == "none") {
    if (old_ranks != new_ranks)
      throw UsageError(fmt::format("--current is for {} GPUs, --gpus is {}: give --scale {}", old_ranks, new_ranks,
                                   old_ranks < new_ranks ? "up" : "down"));
    if (options.has("leave")) throw UsageError("--leave has a meaning with --scale down only: leave it out");
    return {};
  }
  bool const up = scale == "up";
  if (up == (old_ranks > new_ranks) && old_ranks != new_ranks)
    throw UsageError(
        fmt::format("--scale is {}, but the GPUs go from {} to {}: turn it round", scale, old_ranks, new_ranks));
  RankMapping mapping{up ? ScaleMode::scale_up : ScaleMode::scale_down, {}};
  std::vector<RankId> leaving;
  if (!up) {
    std::string last;
    for (int rank = new_ranks; rank < old_ranks; ++rank) last += fmt::format("{}{}", last.empty() ? "" : ",", rank);
    leaving = rank_list("leave", options.has("leave") ? options.text("leave") : last, old_ranks);
    if (static_cast<int>(leaving.size()) != old_ranks - new_ranks)
      throw UsageError(fmt::format("--leave names {} GPUs, from {} to {} GPUs {} leave", leaving.size(), old_ranks,
                                   new_ranks, old_ranks - new_ranks));
  }
  int next = 0;
  for (int rank = 0; rank < old_ranks; ++rank) {
    bool const leaves = std::binary_search(leaving.begin(), leaving.end(), RankId(rank));
    mapping.new_rank_of.emplace_back(leaves ? -1 : next++);
  }
  return mapping;
}

int ranks_of_current(ParsedOptions const& options, PolicyRequest const& request) {
  if (options.has("current-gpus")) return options.small_integer("current-gpus", 1, kMaxRanks);
  return is_scaling(options) ? 0 : request.num_ranks;
}

void read_current(ParsedOptions const& options, PlanInputs& inputs) {
  ExpertLoad const& load = inputs.source.load;
  PolicyRequest const& request = inputs.request;
  if (!options.has("current")) {
    if (is_scaling(options)) throw UsageError("--scale needs --current: give the placement being served");
    inputs.before = ExpertPlacement::trivial(load.num_layers(), load.num_experts(), slot_layout_of(request));
    return;
  }
  std::string const file = options.text("current");
  inputs.has_current = true;
  inputs.before = read_served(file, load.num_experts(), ranks_of_current(options, request));
  ExpertPlacement const& before = inputs.before;
  inputs.mapping = read_mapping(options, before.num_ranks(), request.num_ranks);
  bool const same_slots = inputs.mapping.mode != ScaleMode::none || before.num_slots() == request.num_slots;
  if (before.num_layers() != load.num_layers() || !same_slots)
    throw UsageError(
        fmt::format("{} places {} layers on {} slots, the plan is for {} layers and {} slots: give the "
                    "matching --load and --slots",
                    file, before.num_layers(), before.num_slots(), load.num_layers(), request.num_slots));
}

/// Dead GPUs in the numbers of the group that moves: --dead counts as --gpus do, --lost names leaving GPUs by their old
/// numbers.
std::vector<RankId> read_dead_in_group(ParsedOptions const& options, PlanInputs const& inputs) {
  std::vector<RankId> dead = inputs.request.dead_ranks;
  bool const down = inputs.mapping.mode == ScaleMode::scale_down;
  auto const& new_rank_of = inputs.mapping.new_rank_of;
  if (options.has("lost") && !down)
    throw UsageError("--lost names dead GPUs among those that leave: it needs --scale down; use --dead otherwise");
  if (!down) return dead;
  for (RankId& rank : dead)
    rank = RankId(
        static_cast<std::int32_t>(std::find(new_rank_of.begin(), new_rank_of.end(), rank) - new_rank_of.begin()));
  if (!options.has("lost")) return dead;
  for (RankId const rank : rank_list("lost", options.text("lost"), static_cast<int>(new_rank_of.size()))) {
    if (new_rank_of[rank.index()].valid())
      throw UsageError(fmt::format("--lost names GPU {}, which stays: name it in --leave too", rank.value()));
    dead.push_back(rank);
  }
  return dead;
}

bool holds_experts(ExpertPlacement const& placement, RankId rank) {
  for (int layer = 0; layer < placement.num_layers(); ++layer)
    for (ExpertId const expert : placement.rank_slots(layer, rank))
      if (expert != kNoExpert) return true;
  return false;
}

/// Speeds, dead ranks or another objective make the plain ratio of loads meaningless.
bool is_plain(PolicyRequest const& request) {
  RequestParts const parts = requested_parts(request);
  return !parts.has(RequestPart::rank_speeds) && !parts.has(RequestPart::dead_ranks) &&
         !parts.has(RequestPart::objective);
}

}  // namespace

OptionTable load_options() {
  return {{"load", OptionKind::required, "FILE", "", "measured loads, in any format that docs/formats/loads.md lists"},
          {"experts", OptionKind::required, "E", "", "logical experts per layer"}};
}

OptionTable cluster_options() {
  return {
      {"gpus", OptionKind::optional, "G", "", "ranks that hold experts"},
      {"slots", OptionKind::optional, "S", "", "physical expert slots per layer, over all GPUs"},
      {"slots-per-gpu", OptionKind::optional, "LIST", "", "slots of each GPU where they differ, instead of --slots"},
      {"nodes", OptionKind::optional, "N", "1", "hosts that the GPUs are spread over evenly"},
      {"groups", OptionKind::optional, "K", "1", "expert groups of group-limited routing"},
      {"max-nodes-per-group", OptionKind::optional, "N", "0", "nodes that one group may touch; 0 = any number"},
      {"max-nodes-per-expert", OptionKind::optional, "N", "0", "nodes that one expert may touch; 0 = any number"},
      {"speeds", OptionKind::optional, "LIST", "", "relative speed of each GPU, where they differ"},
      {"dead", OptionKind::optional, "LIST", "", "GPUs that serve nothing; their slots stay empty"},
      {"objective", OptionKind::optional, "NAME", "tokens", "tokens, activated_experts, or time:BASE,EXPERT,TOKEN"}};
}

OptionTable price_options() {
  return {{"expert-bytes", OptionKind::optional, "BYTES", fmt::format("{}", kDeepSeekFp8Bytes),
           "weights of one expert of one layer, for the price of the move"},
          {"network-gbs", OptionKind::optional, "X", "50", "GB/s of a GPU's port between nodes"},
          {"node-gbs", OptionKind::optional, "X", "450", "GB/s of a GPU's port inside a node"},
          {"row-ns", OptionKind::optional, "X", "170",
           "nanoseconds that a GPU spends on one routed token of one layer, for the worth of a better balance"}};
}

PolicyRequest request_of(ParsedOptions const& options) {
  PolicyRequest request;
  if (!options.has("gpus")) throw UsageError("--gpus is missing: give --gpus G");
  request.num_ranks = options.small_integer("gpus", 1, kMaxRanks);
  request.num_nodes = options.small_integer("nodes", 1, kMaxRanks);
  request.num_groups = options.small_integer("groups", 1, kMaxSlots);
  (void)Topology(request.num_ranks, request.num_nodes);  // refuses GPUs that are not spread evenly
  read_slots(options, request);
  request.max_nodes_per_group = options.small_integer("max-nodes-per-group", 0, kMaxRanks);
  request.max_nodes_per_expert = options.small_integer("max-nodes-per-expert", 0, kMaxRanks);
  if (options.has("speeds")) request.rank_speeds = number_list("speeds", options.text("speeds"), 1e-9, 1e9);
  if (options.has("dead")) request.dead_ranks = rank_list("dead", options.text("dead"), request.num_ranks);
  std::string const objective = options.text("objective");
  if (objective.starts_with("time:")) {
    auto const parts = number_list("objective", objective.substr(5), 0, 1e12);
    if (parts.size() != 3) throw UsageError("--objective time needs three numbers: give time:BASE,EXPERT,TOKEN");
    request.objective = {ObjectiveKind::time, parts[0], parts[1], parts[2]};
  } else if (options.choice("objective", {"tokens", "activated_experts"}) != "tokens") {
    request.objective.kind = ObjectiveKind::activated_experts;
  }
  if (options.has("window")) read_window(options, request);
  return request;
}

LinkRates rates_of(ParsedOptions const& options) {
  auto const rate = [&](char const* name) {
    return static_cast<std::int64_t>(options.number(name, 1e-3, kMaxRate) * kBytesPerUsOfGb);
  };
  return {rate("network-gbs"), rate("node-gbs")};
}

PlanInputs read_inputs(ParsedOptions const& options) {
  PlanInputs inputs;
  inputs.request = request_of(options);
  inputs.rates = rates_of(options);
  inputs.expert_bytes = options.integer("expert-bytes", 0, std::int64_t{1} << 40);
  inputs.load_name = options.text("load");
  inputs.source = io::read_expert_load(inputs.load_name, options.small_integer("experts", 1, kMaxSlots));
  read_current(options, inputs);
  inputs.dead_in_group = read_dead_in_group(options, inputs);
  return inputs;
}

PolicyRequest request_for(PlacementPolicy const& policy, PlanInputs const& inputs) {
  PolicyRequest request = inputs.request;
  bool const usable = inputs.mapping.mode == ScaleMode::none;
  if (usable) request.current = std::make_shared<ExpertPlacement const>(inputs.before);
  if (!usable || !policy.honours(request).has(RequestPart::current)) request.current = nullptr;
  return request;
}

ExpertPlacement read_served(std::string const& file, int num_experts, int num_ranks) {
  auto placement = io::read_placement(file, num_experts, num_ranks).placement;
  auto const violations = validate(placement);
  if (violations.empty()) return placement;
  throw UsageError(fmt::format("{} breaks {} rule(s), first {}: {}; give the placement that is being served", file,
                               violations.size(), to_string(violations.front().rule), violations.front().text));
}

PolicyRequest request_served(PolicyRequest request, ExpertPlacement const& placement) {
  if (placement.num_ranks() != request.num_ranks) {
    request = PolicyRequest{};
    request.num_ranks = placement.num_ranks();
    request.num_slots = placement.num_slots();
    request.slot_layout = placement.layout();
    return request;
  }
  bool const used = std::any_of(request.dead_ranks.begin(), request.dead_ranks.end(),
                                [&](RankId rank) { return holds_experts(placement, rank); });
  if (used) request.dead_ranks.clear();
  return request;
}

ImbalanceReport judge(ExpertLoad const& load, ExpertPlacement const& placement, PolicyRequest const& asked) {
  PolicyRequest const request = request_served(asked, placement);
  if (is_plain(request)) return measure_imbalance(load, placement);
  ObjectiveReport const figures = measure_objective(load, placement, request);
  ImbalanceReport report;
  bool const has_bound = request.objective.kind == ObjectiveKind::tokens;
  ExpertLoad const window = has_bound ? reduce_window(load, request.window) : ExpertLoad();
  auto const speeds = serving_speeds(request);
  double sum_even = 0;
  double sum_max = 0;
  for (LayerObjective const& figure : figures.layers) {
    auto const index = static_cast<int>(report.layers.size());
    LayerImbalance& layer = report.layers.emplace_back();
    if (has_bound && figure.even_figure > 0)
      layer.lower_bound_par =
          balance_bounds(window.at(0, index), placement, index, speeds).even_split / figure.even_figure;
    layer.max_rank_load = figure.max_figure;
    layer.mean_rank_load = figure.even_figure;
    layer.par = figure.ratio;
    layer.excess = figure.ratio - 1;
    sum_even += figure.even_figure;
    sum_max += figure.max_figure;
  }
  auto const by_par = [](LayerImbalance const& a, LayerImbalance const& b) { return a.par < b.par; };
  report.mean_par = figures.mean_ratio;
  report.max_par = figures.max_ratio;
  report.min_par = std::min_element(report.layers.begin(), report.layers.end(), by_par)->par;
  report.vllm_balancedness = sum_max > 0 ? sum_even / sum_max : 1;
  return report;
}

PlannedMove plan_move(PlanInputs const& inputs, ExpertPlacement const& after) {
  if (inputs.dead_in_group.empty()) return {plan_rebalance(inputs.before, after, inputs.mapping), {}};
  ReachablePlan reachable = plan_reachable(inputs.before, after, inputs.mapping, inputs.dead_in_group);
  return {std::move(reachable.plan), std::move(reachable.reloads)};
}

RebalanceSchedule schedule_move(PlanInputs const& inputs, ExpertPlacement const& after) {
  ScheduleOptions options;
  int const ranks = std::max(inputs.before.num_ranks(), after.num_ranks());
  if (inputs.request.num_nodes > 1 && ranks == inputs.request.num_ranks)
    options.topology = Topology(ranks, inputs.request.num_nodes);
  options.rates = inputs.rates;
  options.expert_bytes = inputs.expert_bytes;
  options.dead_ranks = inputs.dead_in_group;
  options.missing = MissingExperts::reload;
  return plan_schedule(inputs.before, after, inputs.mapping, options);
}

}  // namespace switchyard::cli
