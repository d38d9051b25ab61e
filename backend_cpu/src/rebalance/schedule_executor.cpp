// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/schedule_executor.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "abort_on_failure.hpp"
#include "rebalance_run.hpp"
#include "scheduled_layer.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {

namespace {

/// How far a layer has come; the same on all survivors of a failure.
struct LayerProgress {
  int rounds_done = 0;
  bool next_round_started = false;
  bool committed = false;
};

}  // namespace

struct ScheduleExecutor::State : RebalanceRun {
  State(RebalanceSchedule const& the_schedule, RebalanceOptions const& the_options)
      : RebalanceRun(the_options), schedule(the_schedule) {
    require_valid(schedule);
    SWITCHYARD_REQUIRE(
        options.dead_ranks.empty(), invalid_argument,
        "{} dead ranks in the options of a schedule, which names its own {}: plan the schedule with them",
        options.dead_ranks.size(), schedule.dead_ranks.size());
    progress.resize(schedule.layers.size());
    if (options.mode == RebalanceMode::in_place) return;
    for (int layer = 0; layer < num_layers(); ++layer)
      SWITCHYARD_REQUIRE(is_buffered(schedule, layer), invalid_argument,
                         "layer {} writes slots in its rounds, so it cannot be buffered: execute it in place, or plan "
                         "it with full buffering",
                         layer);
  }

  [[nodiscard]] int num_layers() const { return static_cast<int>(schedule.layers.size()); }

  void join(Communicator& the_comm, RegisteredWeights const& weights) {
    RebalanceRun::join({"schedule", schedule.before, schedule.dead_ranks, schedule.fingerprint().value}, the_comm,
                       weights);
  }
  ScheduledLayer& open(RegisteredWeights const& weights, int layer);
  void run_round(Communicator& comm, ScheduledLayer& moving, int round);
  void run_rounds(Communicator& comm, ScheduledLayer& moving);
  void write(ScheduledLayer& moving, int round, bool committing);
  void commit(ScheduledLayer& moving);
  void execute_in_place(Communicator& comm, RegisteredWeights const& weights);
  void execute_buffered(Communicator& comm, RegisteredWeights const& weights);

  RebalanceSchedule const& schedule;
  std::vector<LayerProgress> progress{};
  std::optional<ScheduledLayer> moving{};  // the layer under way, also after a failure
  Communicator* comm = nullptr;            // between begin() and commit()
  int next_round = 0;
  bool all_here = false;
};

ScheduledLayer& ScheduleExecutor::State::open(RegisteredWeights const& weights, int layer) {
  moving.reset();
  moving.emplace(schedule, layer, group, weights, options.verify_rows);
  result.peak_staging_bytes = std::max(result.peak_staging_bytes, moving->extra_bytes());
  return *moving;
}

void ScheduleExecutor::State::run_round(Communicator& the_comm, ScheduledLayer& layer_rows, int round) {
  int const layer = layer_rows.layer();
  step(RebalanceStepKind::exchange, layer, false, round);
  progress[to_size(layer)].next_round_started = true;
  layer_rows.exchange(round, the_comm, call(fmt::format("rebalance layer {} round {}", layer, round)), true);
  step(RebalanceStepKind::verify, layer, false, round);
  layer_rows.verify_arrivals(round);
  std::int64_t const bytes = layer_rows.expert_bytes();
  result.bytes_sent += layer_rows.sends(round) * bytes;
  result.bytes_received += layer_rows.receives(round) * bytes;
}

/// A buffered layer is acknowledged once, at its end: until then nothing that counts has been overwritten.
void ScheduleExecutor::State::run_rounds(Communicator& the_comm, ScheduledLayer& layer_rows) {
  int const layer = layer_rows.layer();
  bool const buffered = is_buffered(schedule, layer);
  for (int round = 0; round < layer_rows.num_rounds(); ++round) {
    run_round(the_comm, layer_rows, round);
    if (buffered && round + 1 < layer_rows.num_rounds()) continue;
    acknowledge(the_comm, fmt::format("rebalance layer {} round {}: acknowledge", layer, round), layer);
    progress[to_size(layer)] = {round + 1, false, false};
    if (!buffered) write(layer_rows, round, true);
  }
}

void ScheduleExecutor::State::write(ScheduledLayer& layer_rows, int round, bool committing) {
  layer_rows.copy_rows(round, [&] { step(RebalanceStepKind::write_row, layer_rows.layer(), committing, round); });
  result.bytes_copied += layer_rows.copies(round) * layer_rows.expert_bytes();
}

/// From here on the layer is in `after` for everybody: no rank waits for another one any more.
void ScheduleExecutor::State::commit(ScheduledLayer& layer_rows) {
  int const layer = layer_rows.layer();
  progress[to_size(layer)].committed = true;
  ++result.layers_committed;
  write(layer_rows, layer_rows.num_rounds(), true);
  step(RebalanceStepKind::verify_written, layer, true);
  layer_rows.verify_written();
}

void ScheduleExecutor::State::execute_in_place(Communicator& the_comm, RegisteredWeights const& weights) {
  for (int layer = 0; layer < num_layers(); ++layer) {
    if (progress[to_size(layer)].committed) continue;
    ScheduledLayer& layer_rows = open(weights, layer);
    run_rounds(the_comm, layer_rows);
    commit(layer_rows);
  }
}

void ScheduleExecutor::State::execute_buffered(Communicator& the_comm, RegisteredWeights const& weights) {
  std::vector<std::unique_ptr<ScheduledLayer>> all;
  std::int64_t extra = 0;
  for (int layer = 0; layer < num_layers(); ++layer) {
    if (progress[to_size(layer)].committed) continue;
    all.push_back(std::make_unique<ScheduledLayer>(schedule, layer, group, weights, options.verify_rows));
    extra += all.back()->extra_bytes();
  }
  result.peak_staging_bytes = std::max(result.peak_staging_bytes, extra);
  for (auto& layer_rows : all)
    for (int round = 0; round < layer_rows->num_rounds(); ++round) run_round(the_comm, *layer_rows, round);
  acknowledge(the_comm, "rebalance: acknowledge all layers", -1);
  for (auto& layer_rows : all) progress[to_size(layer_rows->layer())].committed = true;
  result.layers_committed += static_cast<int>(all.size());
  for (auto& layer_rows : all) {
    write(*layer_rows, layer_rows->num_rounds(), true);
    step(RebalanceStepKind::verify_written, layer_rows->layer(), true);
    layer_rows->verify_written();
  }
}

ScheduleExecutor::ScheduleExecutor(RebalanceSchedule const& schedule, RebalanceOptions const& options)
    : state_(std::make_unique<State>(schedule, options)) {}
ScheduleExecutor::~ScheduleExecutor() = default;
ScheduleExecutor::ScheduleExecutor(ScheduleExecutor&&) noexcept = default;
ScheduleExecutor& ScheduleExecutor::operator=(ScheduleExecutor&&) noexcept = default;

RebalanceResult ScheduleExecutor::execute(Communicator& comm, RegisteredWeights const& weights) {
  abort_on_failure(comm, [&] {
    SWITCHYARD_REQUIRE(!state_->comm, invalid_argument, "a layer is under way: commit it before moving the others");
    state_->step(RebalanceStepKind::check);
    state_->join(comm, weights);
    state_->step(RebalanceStepKind::agree);
    comm.barrier(state_->call("rebalance: agree on the schedule"));
    if (state_->options.mode == RebalanceMode::buffered)
      state_->execute_buffered(comm, weights);
    else
      state_->execute_in_place(comm, weights);
  });
  return state_->result;
}

void ScheduleExecutor::begin(Communicator& comm, RegisteredWeights const& weights, int layer) {
  abort_on_failure(comm, [&] {
    SWITCHYARD_REQUIRE(!state_->comm, invalid_argument, "a layer is under way: commit it before layer {}", layer);
    SWITCHYARD_REQUIRE(layer >= 0 && layer < state_->num_layers() && !state_->progress[to_size(layer)].committed,
                       invalid_argument, "layer {} is outside [0, {}) or moved already", layer, state_->num_layers());
    SWITCHYARD_REQUIRE(is_buffered(state_->schedule, layer), invalid_argument,
                       "layer {} writes slots in its rounds, so it cannot be served meanwhile: execute() it, or plan "
                       "it with full buffering",
                       layer);
    state_->step(RebalanceStepKind::check, layer);
    state_->join(comm, weights);
    state_->open(weights, layer);
    state_->step(RebalanceStepKind::agree, layer);
    comm.barrier(state_->call(fmt::format("rebalance: begin layer {}", layer)));
    state_->comm = &comm;
    state_->next_round = 0;
    state_->all_here = state_->moving->num_rounds() == 0;
  });
}

bool ScheduleExecutor::poll() {
  SWITCHYARD_REQUIRE(state_->comm != nullptr, invalid_argument, "no layer is under way: call begin() first");
  if (state_->all_here) return true;
  abort_on_failure(*state_->comm, [&] {
    ScheduledLayer& moving = *state_->moving;
    state_->run_round(*state_->comm, moving, state_->next_round);
    if (++state_->next_round < moving.num_rounds()) return;
    state_->acknowledge(*state_->comm, fmt::format("rebalance layer {}: acknowledge", moving.layer()), moving.layer());
    state_->all_here = true;
  });
  return state_->all_here;
}

void ScheduleExecutor::commit() {
  SWITCHYARD_REQUIRE(state_->comm != nullptr && state_->all_here, invalid_argument,
                     "not every row is there: commit() follows the poll() that returns true");
  Communicator& comm = *std::exchange(state_->comm, nullptr);
  abort_on_failure(comm, [&] { state_->commit(*state_->moving); });
}

RebalanceResult ScheduleExecutor::profile(Communicator& comm, RegisteredWeights const& weights) {
  RebalanceResult sizes;
  abort_on_failure(comm, [&] {
    state_->step(RebalanceStepKind::check);
    state_->join(comm, weights);
    for (int layer = 0; layer < state_->num_layers(); ++layer) {
      ScheduledLayer rows(state_->schedule, layer, state_->group, weights, false);
      sizes.peak_staging_bytes = std::max(sizes.peak_staging_bytes, rows.extra_bytes());
      for (int round = 0; round < rows.num_rounds(); ++round) {
        state_->step(RebalanceStepKind::profile, layer, false, round);
        rows.exchange(round, comm, state_->call(fmt::format("rebalance profile {} {}", layer, round)), false);
        sizes.bytes_sent += rows.sends(round) * rows.expert_bytes();
        sizes.bytes_received += rows.receives(round) * rows.expert_bytes();
      }
    }
  });
  return sizes;
}

RebalanceResult const& ScheduleExecutor::result() const noexcept {
  return state_->result;
}

ExpertPlacement ScheduleExecutor::committed_placement() const {
  RebalanceSchedule const& schedule = state_->schedule;
  std::vector<ExpertId> slots;
  for (int layer = 0; layer < state_->num_layers(); ++layer) {
    LayerProgress const& progress = state_->progress[to_size(layer)];
    bool const mixed = !progress.committed && !is_buffered(schedule, layer);
    auto const whole = progress.committed ? schedule.after.layer(layer) : schedule.before.layer(layer);
    if (!mixed) slots.insert(slots.end(), whole.begin(), whole.end());
    if (!mixed) continue;
    auto const contents = contents_after(schedule, layer, progress.rounds_done, progress.next_round_started);
    for (RankId rank(0); rank.index() < contents.rows.size(); ++rank) {
      auto const first = contents.rows[rank.index()].begin();
      slots.insert(slots.end(), first, first + schedule.before.layout().slots_of(rank));
    }
  }
  return ExpertPlacement(schedule.before.num_layers(), schedule.before.num_experts(), schedule.before.layout(),
                         std::move(slots));
}

std::vector<SpareCopy> ScheduleExecutor::spare_copies() const {
  std::vector<SpareCopy> copies;
  if (!state_->moving) return copies;
  int const layer = state_->moving->layer();
  LayerProgress const& progress = state_->progress[to_size(layer)];
  if (progress.committed || is_buffered(state_->schedule, layer)) return copies;
  auto const contents = contents_after(state_->schedule, layer, progress.rounds_done, progress.next_round_started);
  auto const& rows = contents.rows[state_->group.me.index()];
  for (LocalExpertId row(state_->schedule.before.layout().slots_of(state_->group.me)); row.index() < rows.size(); ++row)
    if (rows[row.index()].valid()) copies.push_back({layer, row, rows[row.index()]});
  return copies;
}

std::span<std::byte const> ScheduleExecutor::spare_row(SpareCopy const& copy, int tensor) const {
  auto const listed = spare_copies();
  SWITCHYARD_REQUIRE(std::find(listed.begin(), listed.end(), copy) != listed.end(), invalid_argument,
                     "no complete expert {} of layer {} is in spare row {}; see spare_copies()", copy.expert.value(),
                     copy.layer, copy.row.value());
  return state_->moving->row(tensor, copy.row);
}

void ScheduleExecutorAccess::set_step_hook(ScheduleExecutor& executor, RebalanceStepHook hook) {
  executor.state_->hook = std::move(hook);
}

}  // namespace switchyard::cpu
