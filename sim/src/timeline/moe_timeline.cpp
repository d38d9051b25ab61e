// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/moe_timeline.hpp"

#include <cmath>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::sim {
namespace {

constexpr std::int64_t kMaxTasks = std::int64_t{1} << 27;

using PerRank = std::vector<TaskId>;  // [ranks]; empty = nothing to wait for

/// Where a micro-batch is in its layer.
struct BatchState {
  PerRank done{};   ///< of the layer before
  PerRank ready{};  ///< what the next stage of the routed path waits for
  PerRank attended{};
};

/// Which work a batch does, and which one once a move of the background has been committed.
struct Serving {
  std::size_t now = 0;
  int move = -1;
  std::size_t later = 0;
};

std::int64_t tasks_of(MoeTimelineSpec const& spec) {
  std::int64_t per_batch = 8;  // attention, experts, and the stages of a shared expert
  for (BatchWork const& work : spec.works)
    per_batch = std::max(per_batch, static_cast<std::int64_t>(8 + work.dispatch.size() + work.combine.size()));
  std::int64_t tasks = checked_mul(spec.steps, spec.layers);
  tasks = checked_mul(checked_mul(tasks, spec.batches), per_batch);
  return checked_mul(tasks + static_cast<std::int64_t>(2 * spec.moves.size()), spec.ranks);
}

void require_ranks(std::size_t size, int ranks, char const* what) {
  SWITCHYARD_REQUIRE(size == to_size(ranks), invalid_argument, "{} {} on {} ranks: give one per rank", size, what,
                     ranks);
}

void require_choices(MoeTimelineSpec const& spec) {
  std::size_t const of_step = to_size(spec.layers) * to_size(spec.batches);
  SWITCHYARD_REQUIRE(spec.choices.size() % of_step == 0, invalid_argument,
                     "{} choices of works for {} layers of {} batches: give whole steps", spec.choices.size(),
                     spec.layers, spec.batches);
  auto const works = static_cast<int>(spec.works.size());
  for (WorkChoice const& choice : spec.choices) {
    SWITCHYARD_REQUIRE(choice.work >= 0 && choice.work < works && choice.after_move < works, invalid_argument,
                       "a batch does work {}, after a move {}, of {} works", choice.work, choice.after_move, works);
    if (choice.after_move < 0) continue;
    BatchWork const &before = spec.works[to_size(choice.work)], &after = spec.works[to_size(choice.after_move)];
    SWITCHYARD_REQUIRE(before.dispatch.size() == after.dispatch.size() && before.combine.size() == after.combine.size(),
                       invalid_argument,
                       "works {} and {} of one batch have {} + {} and {} + {} phases: give dispatches of one kind",
                       choice.work, choice.after_move, before.dispatch.size(), before.combine.size(),
                       after.dispatch.size(), after.combine.size());
  }
}

void require_valid(MoeTimelineSpec const& spec) {
  SWITCHYARD_REQUIRE(spec.ranks >= 1 && spec.steps >= 1 && spec.layers >= 1 && spec.batches >= 1, invalid_argument,
                     "a timeline of {} ranks, {} steps, {} layers and {} batches: each must be at least 1", spec.ranks,
                     spec.steps, spec.layers, spec.batches);
  for (double const us : {spec.attention_us, spec.shared_expert_us})
    SWITCHYARD_REQUIRE(std::isfinite(us) && us >= 0, invalid_argument,
                       "attention of {} us and a shared expert of {} us: give times that are finite and not negative",
                       spec.attention_us, spec.shared_expert_us);
  SWITCHYARD_REQUIRE(!spec.works.empty() || !spec.moves.empty(), invalid_argument,
                     "neither a dispatch nor a move: there is nothing to put on a timeline");
  for (BatchWork const& work : spec.works) {
    require_ranks(work.experts_us.size(), spec.ranks, "experts' times");
    if (!work.experts_sm_bound.empty())
      require_ranks(work.experts_sm_bound.size(), spec.ranks, "parts of experts' times");
  }
  for (LayerMove const& move : spec.moves) require_ranks(move.commit_us.size(), spec.ranks, "commit times");
  SWITCHYARD_REQUIRE(tasks_of(spec) <= kMaxTasks, invalid_argument,
                     "{} steps of {} layers and {} batches on {} ranks are more than {} tasks: take fewer", spec.steps,
                     spec.layers, spec.batches, spec.ranks, kMaxTasks);
  require_choices(spec);
  if (spec.shared_expert_us == 0) return;
  auto const problems = problems_in(spec.shared_schedule);
  SWITCHYARD_REQUIRE(problems.empty(), invalid_argument, "the shared expert's schedule: {}", problems.front());
}

/// Adds tasks stage by stage; every stage is one task per rank.
class Builder {
 public:
  explicit Builder(MoeTimelineSpec const& spec) : spec_(spec), graph_(spec.ranks) {
    work_streams_ = graph_.add_streams(spec.overlap ? "compute" : "all");
    exchange_streams_ = spec.overlap ? graph_.add_streams("communication") : work_streams_;
    for (BatchWork const& work : spec.works) {
      dispatch_traffic_.push_back(traffic_of(work.dispatch));
      combine_traffic_.push_back(traffic_of(work.combine));
    }
    batches_.resize(to_size(spec.batches));
    move_of_layer_.assign(to_size(spec.layers), -1);
    for (std::size_t move = 0; move < spec.moves.size(); ++move)
      if (int const layer = spec.moves[move].layer; layer >= 0 && layer < spec.layers)
        move_of_layer_[to_size(layer)] = static_cast<int>(move);
  }

  TaskGraph build() {
    if (spec_.overlap) {
      add_background();
    } else {
      move_first();
    }
    for (step_ = 0; step_ < spec_.steps; ++step_) {
      for (layer_ = 0; layer_ < spec_.layers && !spec_.works.empty(); ++layer_) add_layer();
      if (spec_.overlap && !spec_.moves.empty())
        graph_.add_poll(work_streams_, graph_.add_label(TaskKind::commit, fmt::format("commit after step {}", step_)));
    }
    return std::move(graph_);
  }

 private:
  [[nodiscard]] std::vector<TrafficId> traffic_of(std::vector<TrafficPhase> const& phases) {
    std::vector<TrafficId> ids;
    for (TrafficPhase const& phase : phases) ids.push_back(graph_.add_traffic(phase.flows));
    return ids;
  }

  void add_background() {
    if (spec_.moves.empty()) return;
    auto const streams = graph_.add_streams("migration");
    for (LayerMove const& move : spec_.moves)
      graph_.add_background(streams, graph_.add_label(TaskKind::migration, "move " + move.name),
                            graph_.add_traffic(move.flows), spec_.migration_sm_share, move.commit_us);
  }

  /// Without overlap nothing is served until every layer has moved.
  void move_first() {
    PerRank before;
    for (LayerMove const& move : spec_.moves) {
      auto const moved = graph_.add_exchange(work_streams_, graph_.add_label(TaskKind::migration, "move " + move.name),
                                             graph_.add_traffic(move.flows), 0, one_each(before));
      auto const moved_all = joined(moved);
      LabelId const commit = graph_.add_label(TaskKind::commit, "commit " + move.name);
      PerRank committed;
      for (std::size_t rank = 0; rank < moved.size(); ++rank)
        committed.push_back(
            graph_.add_work(work_streams_[rank], commit, move.commit_us[rank], std::span(&moved_all[rank], 1)));
      before = joined(committed);
    }
  }

  void add_layer() {
    if (spec_.overlap) {
      for (int batch = 0; batch < spec_.batches; ++batch) before_experts(batch);
      for (int batch = 0; batch < spec_.batches; ++batch) experts_and_combine(batch);
      for (int batch = 0; batch < spec_.batches; ++batch) shared_stages(batch, OverlapEvent::combine_done);
    } else {
      for (int batch = 0; batch < spec_.batches; ++batch) {
        before_experts(batch);
        experts_and_combine(batch);
        shared_stages(batch, OverlapEvent::combine_done);
      }
    }
  }

  void before_experts(int batch) {
    BatchState& state = batches_[to_size(batch)];
    state.ready = state.done;
    (void)stage(batch, TaskKind::attention, "attention", [this](std::size_t) { return spec_.attention_us; });
    state.attended = state.ready;
    shared_stages(batch, OverlapEvent::metadata_ready);
    exchanges(batch, TaskKind::dispatch, "dispatch", dispatch_traffic_);
    PerRank const arrived = state.ready;
    state.ready = state.attended;
    shared_stages(batch, OverlapEvent::dispatch_issued);
    state.ready = arrived;
  }

  void experts_and_combine(int batch) {
    BatchState& state = batches_[to_size(batch)];
    shared_stages(batch, OverlapEvent::dispatch_done);
    Serving const works = serving(batch);
    BatchWork const &now = spec_.works[works.now], &later = spec_.works[works.later];
    PerRank const added = stage(
        batch, TaskKind::experts, "experts", [&](std::size_t rank) { return now.experts_us[rank]; },
        now.experts_sm_bound);
    for (std::size_t rank = 0; rank < added.size() && works.move >= 0; ++rank)
      graph_.change_work(added[rank], works.move, later.experts_us[rank], sm_bound(later.experts_sm_bound, rank));
    PerRank const computed = state.ready;
    exchanges(batch, TaskKind::combine, "combine", combine_traffic_);
    state.done = state.ready;
    state.ready = computed;
    shared_stages(batch, OverlapEvent::combine_issued);
    state.ready = state.done;
  }

  /// What the schedule starts at `event`; after the combine's end the layer waits for it, too.
  void shared_stages(int batch, OverlapEvent event) {
    if (spec_.shared_expert_us == 0) return;
    for (OverlapPoint const& point : spec_.shared_schedule) {
      if (point.event != event) continue;
      double const us = point.stage == SharedExpertStage::fc1   ? spec_.shared_expert_us * 2 / 3
                        : point.stage == SharedExpertStage::fc2 ? spec_.shared_expert_us / 3
                                                                : 0;
      // The result is added where the layer ends, whatever stage took time before: streams keep the order.
      if (us == 0 && point.stage != SharedExpertStage::output) continue;
      (void)stage(batch, TaskKind::shared_expert, "shared expert " + std::string(to_string(point.stage)),
                  [us](std::size_t) { return us; });
      if (event == OverlapEvent::combine_done) batches_[to_size(batch)].done = batches_[to_size(batch)].ready;
    }
  }

  /// @param parts of a BatchWork.
  [[nodiscard]] static double sm_bound(std::vector<double> const& parts, std::size_t rank) {
    return parts.empty() ? 1 : parts[rank];
  }

  /// @return the tasks; what the next stage waits for is in the batch's state.
  template <typename Us>
  PerRank stage(int batch, TaskKind kind, std::string const& name, Us const& us,
                std::vector<double> const& parts = {}) {
    PerRank& ready = batches_[to_size(batch)].ready;
    PerRank added;
    LabelId const label = label_of(batch, kind, name);
    for (std::size_t rank = 0; rank < work_streams_.size(); ++rank)
      added.push_back(graph_.add_work(work_streams_[rank], label, us(rank),
                                      ready.empty() ? std::span<TaskId const>() : std::span(&ready[rank], 1),
                                      sm_bound(parts, rank)));
    ready = joined(added);
    return added;
  }

  /// With barriers, what every rank waits for is a task of rank 0 that waits for all.
  PerRank joined(PerRank const& tasks) {
    if (!spec_.barriers) return tasks;
    TaskId const all = graph_.add_work(work_streams_.front(),
                                       graph_.add_label(graph_.label_of(tasks.front()).kind, "barrier"), 0, tasks);
    return PerRank(tasks.size(), all);
  }

  [[nodiscard]] static std::vector<std::vector<TaskId>> one_each(PerRank const& tasks) {
    std::vector<std::vector<TaskId>> lists;
    for (TaskId const task : tasks) lists.push_back({task});
    return lists;
  }

  void exchanges(int batch, TaskKind kind, std::string const& name,
                 std::vector<std::vector<TrafficId>> const& of_work) {
    PerRank& ready = batches_[to_size(batch)].ready;
    Serving const works = serving(batch);
    auto const& phases = of_work[works.now];
    for (std::size_t phase = 0; phase < phases.size(); ++phase) {
      std::string const part = phases.size() > 1 ? fmt::format("{} {}", name, phase) : name;
      ready = joined(graph_.add_exchange(exchange_streams_, label_of(batch, kind, part), phases[phase], spec_.sm_share,
                                         one_each(ready)));
      if (works.move >= 0) graph_.change_last_exchange(works.move, of_work[works.later][phase]);
    }
  }

  LabelId label_of(int batch, TaskKind kind, std::string const& name) {
    std::string text = name;
    if (spec_.layers > 1) text += fmt::format(" layer {}", layer_);
    if (spec_.batches > 1) text += fmt::format(" batch {}", batch);
    if (spec_.steps > 1) text += fmt::format(" step {}", step_);
    return graph_.add_label(kind, std::move(text));
  }

  /// Without overlap the moves came first.
  [[nodiscard]] Serving serving(int batch) const {
    std::size_t const place = to_size(layer_) * to_size(spec_.batches) + to_size(batch);
    if (spec_.choices.empty()) return {place % spec_.works.size()};
    std::size_t const of_step = to_size(spec_.layers) * to_size(spec_.batches);
    WorkChoice const& choice = spec_.choices[(to_size(step_) * of_step + place) % spec_.choices.size()];
    int const move = move_of_layer_[to_size(layer_)];
    if (move < 0 || choice.after_move < 0) return {to_size(choice.work)};
    if (!spec_.overlap) return {to_size(choice.after_move)};
    return {to_size(choice.work), move, to_size(choice.after_move)};
  }

  MoeTimelineSpec const& spec_;
  TaskGraph graph_;
  std::vector<StreamId> work_streams_, exchange_streams_;
  std::vector<std::vector<TrafficId>> dispatch_traffic_, combine_traffic_;  // [works][phases]
  std::vector<BatchState> batches_;
  std::vector<int> move_of_layer_;  // [layers] -1 = none
  int step_ = 0, layer_ = 0;
};

}  // namespace

TaskGraph moe_task_graph(MoeTimelineSpec const& spec) {
  require_valid(spec);
  return Builder(spec).build();
}

}  // namespace switchyard::sim
