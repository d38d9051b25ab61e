// SPDX-License-Identifier: Apache-2.0
#include "timeline/timeline_inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "timeline/step_works.hpp"

namespace switchyard::cli {
namespace {

constexpr int kMaxSteps = 4096;
constexpr int kMaxLayers = 4096;
constexpr int kMaxBatches = 64;
constexpr double kMaxUs = 1e9;
constexpr double kNsPerUs = 1000;

/// What a rank copies inside itself when a layer is committed: every row that it received or holds twice, from buffer
/// to slot.
std::vector<double> commit_us(LayerTransfers const& layer, std::int64_t expert_bytes, double copy_gb_per_s) {
  std::vector<double> us;
  for (RankTransfers const& rank : layer.ranks) {
    auto const rows = rank.receives.size() + rank.local_copies.size() + rank.duplicates.size();
    us.push_back(static_cast<double>(rows) * static_cast<double>(expert_bytes) /
                 (copy_gb_per_s * sim::kBytesPerUsOfGbPerS));
  }
  return us;
}

std::vector<sim::LayerMove> moves_of(TimedPlans const& plans, ParsedOptions const& options) {
  std::vector<sim::LayerMove> moves;
  std::int64_t const bytes = expert_bytes_of(options);
  double const copy = options.number("copy-gbs", 1e-3, 1e6);
  for (std::size_t layer = 0; layer < plans.rebalance->layers.size(); ++layer) {
    auto const us = commit_us(plans.rebalance->layers[layer], bytes, copy);
    sim::LayerMove move{fmt::format("layer {}", layer), sim::layer_flows(plans.rebalance->layers[layer], bytes), us,
                        static_cast<int>(layer)};
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

/// The part of a grouped GEMM's time that depends on SMs, from what it takes without those of an exchange.
double sm_bound_of(sim::GroupedGemmCost const& kernel, std::vector<std::int64_t> const& rows, double us,
                   TimingBasis const& basis) {
  double const sms = basis.cluster.sms_per_gpu > 0 ? basis.cluster.sms_per_gpu : kernel.sms;
  double const share = basis.work.sm_share;
  if (us == 0 || kernel.sms == 0 || share == 0) return 1;
  double const slowdown = sim::grouped_gemm_us(kernel, rows, 0, sms * (1 - share)) / us;
  return std::clamp((slowdown - 1) / (1 / (1 - share) - 1), 0.0, 1.0);
}

void set_experts(sim::BatchWork& work, std::vector<std::vector<std::int64_t>> const& rows, TimingBasis const& basis) {
  auto const& kernel = basis.costs.experts;
  for (auto const& of_rank : rows) {
    auto const sum = static_cast<double>(std::accumulate(of_rank.begin(), of_rank.end(), std::int64_t{0}));
    double const us = kernel ? sim::grouped_gemm_us(*kernel, of_rank, 0, basis.cluster.sms_per_gpu)
                             : sum * basis.work.row_ns / kNsPerUs;
    work.experts_us.push_back(us);
    work.experts_sm_bound.push_back(kernel ? sm_bound_of(*kernel, of_rank, us, basis) : 1);
  }
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

void require_same_world(TimedPlans const& one, TimedPlans const& first) {
  if (ranks_of(one) != ranks_of(first))
    throw UsageError(fmt::format("plans of {} and {} ranks do not fit on one timeline: give plans of one world size",
                                 ranks_of(first), ranks_of(one)));
  if (one.rebalance.has_value() != first.rebalance.has_value())
    throw UsageError("a rebalance among the plans of a dispatch: name it with --move");
}

/// A recording's own, or what was asked for.
CallShape shape_of(std::vector<TimedPlans> const& plans, ParsedOptions const& options) {
  if (!plans.front().calls.empty()) return plans.front().shape;
  CallShape shape;
  if (options.has("layers")) shape.layers = options.small_integer("layers", 1, kMaxLayers);
  if (options.has("batches")) shape.batches = options.small_integer("batches", 1, kMaxBatches);
  return shape;
}

}  // namespace

OptionTable timeline_options() {
  return {
      {"layers", OptionKind::optional, "N", "", "layers of a step: as recorded, or 1; plans are used in turn"},
      {"batches", OptionKind::optional, "N", "",
       "micro-batches in every layer, each of a plan's size: as recorded, or 1"},
      {"steps", OptionKind::optional, "N", "",
       "forward passes: as recorded, or 1; with --move as many as all moves need and one more"},
      {"attention-us", OptionKind::optional, "US", "0", "work before every dispatch"},
      {"shared-expert-us", OptionKind::optional, "US", "0", "a shared expert, beside dispatch and combine"},
      {"shared-schedule", OptionKind::optional, "alltoall|flex|none", "alltoall",
       "when the shared expert's stages start, as Megatron's dispatcher of that name has them"},
      {"row-ns", OptionKind::optional, "NS", "170", "experts' work per row, without --expert-kernel"},
      {"sm-share", OptionKind::optional, "FRACTION", "0", "part of a GPU that a dispatch or combine takes from work"},
      {"move", OptionKind::optional, "PLAN", "", "rebalance plan carried out layer by layer behind the dispatch"},
      {"keep-traffic", OptionKind::flag, "", "", "with --move: steps after a commit keep the traffic of the plans"},
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

TimelineJob::TimelineJob(std::vector<TimedPlans> const& plans, std::vector<std::string> const& names,
                         ParsedOptions const& options, sim::ClusterSpec const& cluster) {
  spec_.ranks = ranks_of(plans.front());
  spec_.shared_schedule = shared_schedule_of(options);
  spec_.overlap = !options.has("no-overlap");
  steps_given_ = options.has("steps");
  for (TimedPlans const& one : plans) require_same_world(one, plans.front());
  CallShape const shape = shape_of(plans, options);
  spec_.layers = shape.layers;
  spec_.batches = shape.batches;
  spec_.steps = steps_given_ ? options.small_integer("steps", 1, kMaxSteps) : shape.steps;
  if (plans.front().rebalance) {
    if (plans.size() > 1 || options.has("move"))
      throw UsageError("a rebalance is put on a timeline alone, or with --move behind the plans of a dispatch");
    spec_.moves = moves_of(plans.front(), options);
    if (spec_.moves.empty()) throw UsageError("the plan moves nothing: there is nothing to put on a timeline");
    return;
  }
  TimedPlans move;
  if (options.has("move")) {
    move = read_rebalance(options.text("move"));
    if (ranks_of(move) != spec_.ranks)
      throw UsageError(fmt::format("--move {} is of {} ranks, the dispatch of {}: give plans of one world size",
                                   options.text("move"), ranks_of(move), spec_.ranks));
    spec_.moves = moves_of(move, options);
  }
  bool const follows = move.rebalance && !options.has("keep-traffic");
  StepWorks works(plans, names, {shape.layers, shape.batches, plans.front().calls.empty() ? 1 : shape.steps},
                  follows ? &*move.rebalance : nullptr, options, cluster);
  StepWork all = std::move(works).take();
  spec_.works = std::move(all.works);
  spec_.choices = std::move(all.choices);
  rows_ = std::move(all.rows);
  LargestPhase largest;
  for (sim::BatchWork const& work : spec_.works)
    for (sim::TrafficPhase const& phase : work.dispatch) largest.see(phase);
  largest_ = largest.phase();
}

sim::MoeTimelineSpec TimelineJob::spec_with(TimingBasis const& basis) const {
  sim::MoeTimelineSpec spec = spec_;
  spec.attention_us = basis.work.attention_us;
  spec.shared_expert_us = basis.work.shared_expert_us;
  spec.sm_share = basis.work.sm_share;
  for (std::size_t work = 0; work < spec.works.size(); ++work) set_experts(spec.works[work], rows_[work], basis);
  return spec;
}

TimelineRun TimelineJob::run(TimingBasis const& basis, sim::NetworkModel const& model) const {
  sim::MoeTimelineSpec spec = spec_with(basis);
  auto const moves = static_cast<int>(spec.moves.size());
  bool const grows = !steps_given_ && moves > 0 && spec.overlap;
  // One move is committed per step at most, and a step shows what comes after the last.
  int const extra = spec.works.empty() ? 0 : 1;
  if (grows) spec.steps = std::max(spec.steps, std::min(moves + extra, kMaxSteps));
  int const least = spec.steps;
  while (true) {
    TimelineRun result = run_spec(spec, largest_, basis, model);
    if (!grows || spec.steps >= kMaxSteps) return result;
    bool const enough = result.summary.moves_committed == moves;
    int const needed =
        enough ? std::max(least, result.timeline.committed_at.back() + 1 + extra) : std::min(2 * spec.steps, kMaxSteps);
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

std::optional<MoveEffect> TimelineJob::effect(TimingBasis const& basis, sim::NetworkModel const& model,
                                              TimelineRun const& run) const {
  auto const& committed = run.timeline.committed_at;
  bool const changes = std::any_of(spec_.choices.begin(), spec_.choices.end(),
                                   [](sim::WorkChoice const& choice) { return choice.after_move >= 0; });
  if (!changes || !spec_.overlap || committed.empty()) return std::nullopt;
  MoveEffect effect;
  effect.all_committed = committed.size() == spec_.moves.size();
  effect.steps = committed.back() + 1;
  effect.moving_us = run.summary.step_end_us[static_cast<std::size_t>(committed.back())];
  sim::MoeTimelineSpec spec = spec_with(basis);
  spec.moves.clear();
  spec.steps = effect.steps;
  effect.before_us = run_spec(spec, largest_, basis, model).summary.makespan_us;
  for (sim::WorkChoice& choice : spec.choices)
    if (choice.after_move >= 0) choice.work = choice.after_move;
  effect.after_us = run_spec(std::move(spec), largest_, basis, model).summary.makespan_us;
  return effect;
}

TimelineRun phase_timeline(TimedPlans const& plans, std::vector<sim::TrafficPhase> const& phases,
                           TimingBasis const& basis, sim::NetworkModel const& model) {
  sim::MoeTimelineSpec spec;
  spec.ranks = ranks_of(plans);
  spec.overlap = false;
  spec.barriers = true;
  LargestPhase largest;
  for (auto const& phase : phases) largest.see(phase);
  if (plans.rebalance) {
    std::vector<double> const no_commit(static_cast<std::size_t>(spec.ranks), 0.0);
    for (auto const& phase : phases) spec.moves.push_back({phase.name, phase.flows, no_commit});
    if (spec.moves.empty()) throw UsageError("the plan moves nothing: there is nothing to put on a timeline");
  } else {
    TimingBasis only_kernel = basis;
    only_kernel.work = {};
    auto const add = [&](TimedPlans const& call, std::span<sim::TrafficPhase const> of_call) {
      spec.works.push_back(work_of({of_call.begin(), of_call.end()}));
      set_experts(spec.works.back(), expert_rows_of(call), only_kernel);
    };
    if (plans.calls.empty()) add(plans, phases);
    for (std::size_t call = 0; call < plans.calls.size(); ++call)
      add(plans.calls[call], phases_of_call(plans, phases, call));
    spec.layers = static_cast<int>(spec.works.size());
  }
  return run_spec(std::move(spec), largest.phase(), basis, model);
}

}  // namespace switchyard::cli
