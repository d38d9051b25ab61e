// SPDX-License-Identifier: Apache-2.0
#include "timeline/timeline_inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace switchyard::cli {
namespace {

constexpr int kMaxSteps = 4096;
constexpr int kMaxLayers = 4096;
constexpr int kMaxBatches = 64;
constexpr double kMaxUs = 1e9;
constexpr double kNsPerUs = 1000;
constexpr double kBytesPerUsOfGbPerS = 1000;

/// A dispatch's phases come first, its combine's are their mirror image.
sim::BatchWork work_of(std::vector<sim::TrafficPhase> phases) {
  auto const half = phases.begin() + static_cast<std::ptrdiff_t>(phases.size() / 2);
  sim::BatchWork work;
  work.dispatch.assign(phases.begin(), half);
  work.combine.assign(half, phases.end());
  return work;
}

/// What a rank copies inside itself when a layer is committed: every row that it received or holds twice, from buffer
/// to slot.
std::vector<double> commit_us(LayerTransfers const& layer, std::int64_t expert_bytes, double copy_gb_per_s) {
  std::vector<double> us;
  for (RankTransfers const& rank : layer.ranks) {
    auto const rows = rank.receives.size() + rank.local_copies.size() + rank.duplicates.size();
    us.push_back(static_cast<double>(rows) * static_cast<double>(expert_bytes) / (copy_gb_per_s * kBytesPerUsOfGbPerS));
  }
  return us;
}

std::vector<sim::LayerMove> moves_of(TimedPlans const& plans, ParsedOptions const& options) {
  std::vector<sim::LayerMove> moves;
  std::int64_t const bytes = expert_bytes_of(options);
  double const copy = options.number("copy-gbs", 1e-3, 1e6);
  for (std::size_t layer = 0; layer < plans.rebalance->layers.size(); ++layer) {
    auto const us = commit_us(plans.rebalance->layers[layer], bytes, copy);
    sim::LayerMove move{fmt::format("layer {}", layer), sim::layer_flows(plans.rebalance->layers[layer], bytes), us};
    if (!move.flows.empty() || std::any_of(us.begin(), us.end(), [](double one) { return one > 0; }))
      moves.push_back(std::move(move));
  }
  return moves;
}

std::vector<OverlapPoint> shared_schedule_of(ParsedOptions const& options) {
  std::string const name = options.choice("shared-schedule", {"alltoall", "flex", "none"});
  auto const schedule = name == "alltoall" ? alltoall_overlap() : name == "flex" ? flex_overlap() : no_overlap();
  return {schedule.begin(), schedule.end()};
}

std::int64_t bytes_of(sim::TrafficPhase const& phase) {
  return std::accumulate(phase.flows.begin(), phase.flows.end(), std::int64_t{0},
                         [](std::int64_t sum, sim::Flow const& flow) { return sum + flow.bytes; });
}

std::vector<double> experts_us(std::vector<std::vector<std::int64_t>> const& rows, TimingBasis const& basis) {
  std::vector<double> us;
  for (auto const& of_rank : rows) {
    auto const sum = static_cast<double>(std::accumulate(of_rank.begin(), of_rank.end(), std::int64_t{0}));
    us.push_back(basis.costs.experts ? sim::grouped_gemm_us(*basis.costs.experts, of_rank)
                                     : sum * basis.work.row_ns / kNsPerUs);
  }
  return us;
}

TimelineRun run_spec(sim::MoeTimelineSpec spec, sim::TrafficPhase const& largest, TimingBasis const& basis,
                     sim::NetworkModel const& model) {
  sim::ClusterTopology topology(basis.costs.alltoall.empty()
                                    ? basis.cluster
                                    : sim::calibrated_cluster(basis.cluster, basis.costs.alltoall, largest.flows));
  auto graph = sim::moe_task_graph(spec);
  auto timeline = sim::run_timeline(graph, topology, model);
  auto summary = sim::summarize(graph, timeline);
  return {std::move(spec), std::move(graph), std::move(topology), std::move(timeline), std::move(summary)};
}

}  // namespace

OptionTable timeline_options() {
  return {
      {"layers", OptionKind::optional, "N", "1", "layers of a step; plans are used in turn"},
      {"batches", OptionKind::optional, "N", "1", "micro-batches in every layer, each of a plan's size"},
      {"steps", OptionKind::optional, "N", "", "forward passes: 1, or with --move as many as all moves need"},
      {"attention-us", OptionKind::optional, "US", "0", "work before every dispatch"},
      {"shared-expert-us", OptionKind::optional, "US", "0", "a shared expert, beside dispatch and combine"},
      {"shared-schedule", OptionKind::optional, "alltoall|flex|none", "alltoall",
       "when the shared expert's stages start, as Megatron's dispatcher of that name has them"},
      {"row-ns", OptionKind::optional, "NS", "170", "experts' work per row, without --expert-kernel"},
      {"sm-share", OptionKind::optional, "FRACTION", "0", "part of a GPU that a dispatch or combine takes from work"},
      {"move", OptionKind::optional, "PLAN", "", "rebalance plan carried out layer by layer behind the dispatch"},
      {"copy-gbs", OptionKind::optional, "GB/S", "1485", "speed at which a committed row is copied to its slot"},
      {"no-overlap", OptionKind::flag, "", "", "one stream per rank: everything one after the other"}};
}

WorkTimes work_times_of(ParsedOptions const& options) {
  return {options.number("attention-us", 0, kMaxUs), options.number("shared-expert-us", 0, kMaxUs),
          options.number("row-ns", 0, kMaxUs), options.number("sm-share", 0, 0.75)};
}

void require_fit(TimedPlans const& plans, std::string const& file, sim::ClusterSpec const& cluster) {
  if (ranks_of(plans) > cluster.num_ranks())
    throw UsageError(
        fmt::format("{} is of {} ranks, the cluster \"{}\" has {}: take a larger cluster or the plan of a "
                    "smaller world",
                    file, ranks_of(plans), cluster.name, cluster.num_ranks()));
}

TimelineJob::TimelineJob(std::vector<TimedPlans> plans, ParsedOptions const& options, sim::ClusterSpec const& cluster) {
  spec_.ranks = ranks_of(plans.front());
  spec_.layers = options.small_integer("layers", 1, kMaxLayers);
  spec_.batches = options.small_integer("batches", 1, kMaxBatches);
  steps_given_ = options.has("steps");
  spec_.steps = steps_given_ ? options.small_integer("steps", 1, kMaxSteps) : 1;
  spec_.shared_schedule = shared_schedule_of(options);
  spec_.overlap = !options.has("no-overlap");
  if (plans.front().rebalance) {
    if (plans.size() > 1 || options.has("move"))
      throw UsageError("a rebalance is put on a timeline alone, or with --move behind the plans of a dispatch");
    spec_.moves = moves_of(plans.front(), options);
    if (spec_.moves.empty()) throw UsageError("the plan moves nothing: there is nothing to put on a timeline");
  }
  for (TimedPlans const& one : plans) {
    if (ranks_of(one) != spec_.ranks)
      throw UsageError(fmt::format("plans of {} and {} ranks do not fit on one timeline: give plans of one world size",
                                   spec_.ranks, ranks_of(one)));
    if (one.rebalance.has_value() != plans.front().rebalance.has_value())
      throw UsageError("a rebalance among the plans of a dispatch: name it with --move");
    if (one.rebalance) continue;
    spec_.works.push_back(work_of(phases_of(one, options, cluster)));
    rows_.push_back(expert_rows_of(one));
    for (auto const& phase : spec_.works.back().dispatch)
      if (bytes_of(phase) >= bytes_of(largest_)) largest_ = phase;
  }
  if (!options.has("move")) return;
  TimedPlans const move = read_rebalance(options.text("move"));
  if (ranks_of(move) != spec_.ranks)
    throw UsageError(fmt::format("--move {} is of {} ranks, the dispatch of {}: give plans of one world size",
                                 options.text("move"), ranks_of(move), spec_.ranks));
  spec_.moves = moves_of(move, options);
}

sim::MoeTimelineSpec TimelineJob::spec_with(TimingBasis const& basis) const {
  sim::MoeTimelineSpec spec = spec_;
  spec.attention_us = basis.work.attention_us;
  spec.shared_expert_us = basis.work.shared_expert_us;
  spec.sm_share = basis.work.sm_share;
  for (std::size_t work = 0; work < spec.works.size(); ++work)
    spec.works[work].experts_us = experts_us(rows_[work], basis);
  return spec;
}

TimelineRun TimelineJob::run(TimingBasis const& basis, sim::NetworkModel const& model) const {
  sim::MoeTimelineSpec spec = spec_with(basis);
  auto const moves = static_cast<int>(spec.moves.size());
  bool const grows = !steps_given_ && moves > 0 && spec.overlap;
  // One move is committed per step at most.
  if (grows) spec.steps = std::min(moves, kMaxSteps);
  while (true) {
    TimelineRun result = run_spec(spec, largest_, basis, model);
    if (!grows || spec.steps >= kMaxSteps) return result;
    bool const enough = result.summary.moves_committed == moves;
    int const needed = enough ? result.timeline.committed_at.back() + 1 : std::min(2 * spec.steps, kMaxSteps);
    if (needed == spec.steps) return result;
    spec.steps = needed;  // fewer: a step too many does not change those before it
  }
}

double TimelineJob::serial_us(TimingBasis const& basis, sim::NetworkModel const& model, TimelineRun const& run) const {
  sim::MoeTimelineSpec spec = spec_with(basis);
  spec.steps = run.spec.steps;
  spec.overlap = false;
  return run_spec(std::move(spec), largest_, basis, model).summary.makespan_us;
}

TimelineRun phase_timeline(TimedPlans const& plans, std::vector<sim::TrafficPhase> const& phases,
                           TimingBasis const& basis, sim::NetworkModel const& model) {
  sim::MoeTimelineSpec spec;
  spec.ranks = ranks_of(plans);
  spec.overlap = false;
  spec.barriers = true;
  sim::TrafficPhase largest;
  for (auto const& phase : phases)
    if (bytes_of(phase) >= bytes_of(largest)) largest = phase;
  if (plans.rebalance) {
    std::vector<double> const no_commit(static_cast<std::size_t>(spec.ranks), 0.0);
    for (auto const& phase : phases) spec.moves.push_back({phase.name, phase.flows, no_commit});
    if (spec.moves.empty()) throw UsageError("the plan moves nothing: there is nothing to put on a timeline");
  } else {
    spec.works.push_back(work_of(phases));
    TimingBasis only_kernel = basis;
    only_kernel.work = {};
    spec.works.front().experts_us = experts_us(expert_rows_of(plans), only_kernel);
  }
  return run_spec(std::move(spec), largest, basis, model);
}

}  // namespace switchyard::cli
