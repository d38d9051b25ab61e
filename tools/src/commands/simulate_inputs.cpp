// SPDX-License-Identifier: Apache-2.0
#include "commands/simulate_inputs.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "commands/simulate_kernels.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/types/error.hpp"
#include "timeline/recorded_calls.hpp"

namespace switchyard::cli {
namespace {

constexpr int kMaxNodes = 1 << 20;
constexpr int kMaxChannels = 1 << 20;
constexpr int kMaxWorkers = 1024;
constexpr double kMaxChannelGbs = 1e6;
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 40;
constexpr std::int64_t kDeepSeekRowBytes = 7168 * 2;
constexpr std::int64_t kDeepSeekExpertBytes = 42 << 20;

std::string cluster_text(std::string const& file) {
  try {
    return io::read_file(file);
  } catch (Error const& error) {
    throw UsageError(fmt::format("--cluster {} is no preset ({}), and as a file: {}", file,
                                 fmt::join(sim::cluster_preset_names(), ", "), error.message()));
  }
}

/// Adds what the slowest rank's experts take, before the first combine.
void add_experts(sim::PlanCost& cost, TimedPlans const& plans, sim::GroupedGemmCost const& kernel, double sms) {
  sim::PhaseCost experts;
  experts.name = "experts";
  auto const rows = expert_rows_of(plans);
  for (std::size_t rank = 0; rank < rows.size(); ++rank) {
    double const us = sim::grouped_gemm_us(kernel, rows[rank], 0, sms);
    if (us <= experts.time_us) continue;
    experts.time_us = experts.lower_bound_us = us;
    experts.bottleneck = fmt::format("experts of rank {}", rank);
  }
  cost.time_us += experts.time_us;
  cost.lower_bound_us += experts.lower_bound_us;
  auto const combine = std::find_if(cost.phases.begin(), cost.phases.end(),
                                    [](sim::PhaseCost const& phase) { return phase.name.rfind("combine", 0) == 0; });
  cost.phases.insert(combine, std::move(experts));
}

sim::GroupedGemmCost kernel_of(sim::CostFile const& costs, std::string const& name) {
  std::vector<std::string> known;
  for (auto const& gemm : costs.gemms) {
    known.push_back(to_string(gemm.key));
    if (known.back() == name) return gemm;
  }
  throw UsageError(fmt::format("--expert-kernel \"{}\" is not in the costs: they hold {}", name,
                               known.empty() ? "none" : fmt::format("\"{}\"", fmt::join(known, "\", \""))));
}

sim::Deduplication deduplication_of(ParsedOptions const& options) {
  if (!options.has("dedup")) return sim::Deduplication::none;
  std::string const name = options.choice("dedup", {"none", "per_rank", "per_node"});
  if (name == "per_rank") return sim::Deduplication::per_rank;
  return name == "per_node" ? sim::Deduplication::per_node : sim::Deduplication::none;
}

/// Kernels of what runs on the ranks beside a dispatch's own exchanges.
void add_kernels(sim::PlanCost& cost, TimedPlans const& plans, std::span<sim::TrafficPhase const> phases,
                 ChosenCosts const& costs, double sms) {
  if (costs.experts && !plans.rebalance) add_experts(cost, plans, *costs.experts, sms);
  add_row_kernels(cost, plans, phases, costs);
}

/// Of every call on its own, in the calls' order.
void add_kernels_of_calls(sim::PlanCost& cost, TimedPlans const& plans, std::span<sim::TrafficPhase const> phases,
                          ChosenCosts const& costs, double sms) {
  std::vector<sim::PhaseCost> const timed = std::move(cost.phases);
  cost.phases.clear();
  std::size_t const each = phases.size() / plans.calls.size();
  for (std::size_t call = 0; call < plans.calls.size(); ++call) {
    sim::PlanCost of_call;
    auto const first = timed.begin() + static_cast<std::ptrdiff_t>(call * each);
    of_call.phases.assign(first, first + static_cast<std::ptrdiff_t>(each));
    add_kernels(of_call, plans.calls[call], phases_of_call(plans, phases, call), costs, sms);
    cost.time_us += of_call.time_us;
    cost.lower_bound_us += of_call.lower_bound_us;
    cost.phases.insert(cost.phases.end(), of_call.phases.begin(), of_call.phases.end());
  }
}

}  // namespace

std::vector<std::vector<std::int64_t>> expert_rows_of(TimedPlans const& plans) {
  std::vector<std::vector<std::int64_t>> rows;
  for (DispatchPlan const& plan : plans.dispatch) rows.push_back(filled_rows(plan));
  if (plans.routed)
    rows = sim::routed_expert_rows(plans.routed->routings, plans.routed->placement, plans.routed->layer);
  return rows;
}

sim::ClusterSpec cluster_of(ParsedOptions const& options, int ranks) {
  if (!options.has("cluster")) throw UsageError("--cluster is missing: name a preset or a file");
  std::string const name = options.text("cluster");
  auto const presets = sim::cluster_preset_names();
  if (std::find(presets.begin(), presets.end(), name) == presets.end()) {
    auto const spec = sim::cluster_spec_from_text(cluster_text(name), name);
    if (options.has("nodes")) throw UsageError("--nodes is for presets: the cluster file says how many nodes it has");
    return spec;
  }
  int const per_node = sim::cluster_preset(name, 1).gpus_per_node;
  int const nodes = options.has("nodes") ? options.small_integer("nodes", 1, kMaxNodes) : (ranks - 1) / per_node + 1;
  return sim::cluster_preset(name, nodes);
}

sim::Fidelity fidelity_of(ParsedOptions const& options) {
  std::string const name = options.choice("fidelity", {"t0", "t1", "t1-first-order", "t2"});
  for (auto const fidelity : {sim::Fidelity::t0, sim::Fidelity::t1, sim::Fidelity::t1_first_order})
    if (name == to_string(fidelity)) return fidelity;
  return sim::Fidelity::t2;
}

int workers_of(ParsedOptions const& options) {
  return options.small_integer("workers", 0, kMaxWorkers);
}

std::vector<sim::TrafficPhase> phases_of(TimedPlans const& plans, ParsedOptions const& options,
                                         sim::ClusterSpec const& cluster) {
  if (plans.rebalance) return sim::rebalance_traffic(*plans.rebalance, expert_bytes_of(options));
  if (!plans.calls.empty()) return phases_of_calls(plans.calls, options, cluster);
  std::int64_t const row_bytes = options.integer("row-bytes", 1, kMaxBytes);
  std::vector<sim::TrafficPhase> there, back;
  if (plans.routed) {
    auto const& routed = *plans.routed;
    there = sim::routing_traffic(sim::ClusterTopology(cluster), routed.routings, routed.placement, routed.layer,
                                 row_bytes, deduplication_of(options));
    back = sim::way_back(there);
  } else {
    there = sim::dispatch_traffic(plans.dispatch, row_bytes);
    back = sim::combine_traffic(plans.dispatch, row_bytes);
  }
  for (auto& phase : there) phase.name = "dispatch: " + phase.name;
  for (auto& phase : back) {
    phase.name = "combine: " + phase.name;
    there.push_back(std::move(phase));
  }
  return there;
}

std::int64_t expert_bytes_of(ParsedOptions const& options) {
  return options.integer("expert-bytes", 1, kMaxBytes);
}

std::span<sim::TrafficPhase const> phases_of_call(TimedPlans const& plans, std::span<sim::TrafficPhase const> phases,
                                                  std::size_t call) {
  std::size_t const each = phases.size() / plans.calls.size();
  return phases.subspan(call * each, each);
}

std::unique_ptr<sim::NetworkModel const> model_of(ParsedOptions const& options) {
  sim::NetworkModelOptions model;
  model.merge_fraction = options.number("merge", 0, 0.5);
  model.chunk_bytes = options.integer("chunk-bytes", 1, kMaxBytes);
  model.channels_per_rank = options.small_integer("channels", 0, kMaxChannels);
  model.channel_gb_per_s = options.number("channel-gbs", 0, kMaxChannelGbs);
  return sim::make_network_model(fidelity_of(options), model);
}

ChosenCosts costs_of(ParsedOptions const& options) {
  ChosenCosts chosen;
  if (!options.has("costs")) {
    for (char const* name :
         {"system", "expert-kernel", "plan-kernel", "quantize-kernel", "permute-kernel", "combine-kernel"})
      if (options.has(name)) throw UsageError(fmt::format("--{} names a part of a cost file: give --costs FILE", name));
    return chosen;
  }
  std::string const file = options.text("costs");
  auto const costs = sim::cost_file_from_json(io::read_file(file), file);
  chosen.alltoall = sim::alltoall_curves(costs, options.text("system"));
  if (options.has("expert-kernel")) chosen.experts = kernel_of(costs, options.text("expert-kernel"));
  chosen.kernels = row_kernels_of(costs, options);
  chosen.row_bytes = options.integer("row-bytes", 1, kMaxBytes);
  return chosen;
}

sim::PlanCost time_plan(TimedPlans const& plans, sim::ClusterSpec const& cluster,
                        std::vector<sim::TrafficPhase> const& phases, sim::NetworkModel const& model,
                        ChosenCosts const& costs) {
  auto cost = costs.alltoall.empty() ? sim::cost_of(sim::ClusterTopology(cluster), phases, model)
                                     : sim::calibrated_cost_of(cluster, costs.alltoall, phases, model);
  if (plans.calls.empty()) {
    add_kernels(cost, plans, phases, costs, cluster.sms_per_gpu);
  } else {
    add_kernels_of_calls(cost, plans, phases, costs, cluster.sms_per_gpu);
  }
  return cost;
}

OptionTable timing_options() {
  OptionTable table{
      {"cluster", OptionKind::optional, "NAME|FILE", "", "preset or cluster file"},
      {"nodes", OptionKind::optional, "N", "", "nodes of a preset; without it as many as the plan's ranks fill"},
      {"fidelity", OptionKind::optional, "t0|t1|t1-first-order|t2", "t1", "how the network is modelled"},
      {"row-bytes", OptionKind::optional, "BYTES", fmt::format("{}", kDeepSeekRowBytes),
       "one token row of a dispatch; the default is hidden 7168 in bf16"},
      {"expert-bytes", OptionKind::optional, "BYTES", fmt::format("{}", kDeepSeekExpertBytes),
       "weights of one expert of one layer, for a rebalance"},
      {"merge", OptionKind::optional, "FRACTION", "0",
       "t1: make one event of starts and ends for an error of at most this part of the time; it is in the JSON"},
      {"chunk-bytes", OptionKind::optional, "BYTES", "65536", "t2: what is stored and forwarded as one"},
      {"channels", OptionKind::optional, "N", "0",
       "t2: chunks that a rank sends at once, by SMs or queue pairs; 0 = no limit"},
      {"channel-gbs", OptionKind::optional, "GB/s", "0", "t2: what one channel moves; 0 = no limit"},
      {"workers", OptionKind::optional, "N", "0",
       "threads that vary constants; 0 = as many as there are cores; the output does not depend on it"},
      {"costs", OptionKind::optional, "FILE", "", "measured costs from `switchyard calibrate` inside a node"},
      {"system", OptionKind::optional, "NAME", "", "whose all-to-all times of the costs, where they hold several"},
      {"expert-kernel", OptionKind::optional, "NAME", "", "a grouped GEMM of the costs: times the experts, too"},
      {"ranks", OptionKind::optional, "N", "", "routing: ranks that its tokens are dealt to, in blocks"},
      {"experts", OptionKind::optional, "E", "", "routing: logical experts, when the recording does not say"},
      {"layer", OptionKind::optional, "N", "0", "routing: layer of the recording and of the placement"},
      {"placement", OptionKind::optional, "FILE", "",
       "routing: a placement or plan file; without it experts lie in contiguous blocks"},
      {"dedup", OptionKind::optional, "none|per_rank|per_node", "",
       "routing: how often a token travels to one rank or node; without it once per expert"}};
  for (OptionSpec const& option : kernel_options()) table.push_back(option);
  return table;
}

}  // namespace switchyard::cli
