// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/rebalance_executor.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "abort_on_failure.hpp"
#include "rebalance_run.hpp"
#include "staged_layer.hpp"
#include "staging_memory.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {

namespace {

bool moves_anything(RankTransfers const& rank) {
  return !rank.sends.empty() || !rank.receives.empty() || !rank.local_copies.empty() || !rank.duplicates.empty();
}

bool moves_anything(LayerTransfers const& layer) {
  return std::any_of(layer.ranks.begin(), layer.ranks.end(), [](RankTransfers const& r) { return moves_anything(r); });
}

/// A plan made without regard to the dead would wait for them.
void require_idle(RebalancePlan const& plan, RankId rank) {
  SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.value() < plan.before.num_ranks(), invalid_argument,
                     "dead rank {} is outside the plan's ranks [0, {})", rank.value(), plan.before.num_ranks());
  for (int layer = 0; layer < plan.before.num_layers(); ++layer) {
    auto const is_empty = [](ExpertId expert) { return !expert.valid(); };
    bool const holds_nothing = std::ranges::all_of(plan.before.rank_slots(layer, rank), is_empty) &&
                               std::ranges::all_of(plan.after.rank_slots(layer, rank), is_empty);
    SWITCHYARD_REQUIRE(holds_nothing && !moves_anything(plan.layers[to_size(layer)].ranks[rank.index()]), invalid_plan,
                       "rank {} is dead and the plan gives it slots or transfers in layer {}: plan with "
                       "plan_reachable() and these dead ranks",
                       rank.value(), layer);
  }
}

}  // namespace

struct RebalanceExecutor::State : RebalanceRun {
  State(RebalancePlan const& the_plan, RebalanceOptions const& the_options)
      : RebalanceRun(the_options), plan(the_plan) {
    require_valid(plan);
    std::ranges::sort(options.dead_ranks);
    for (RankId const rank : options.dead_ranks) require_idle(plan, rank);
    committed.resize(plan.layers.size(), false);
  }

  [[nodiscard]] int num_layers() const { return plan.before.num_layers(); }
  [[nodiscard]] LayerTransfers const& transfers(int layer) const { return plan.layers[to_size(layer)]; }
  [[nodiscard]] RankTransfers const& my_transfers(int layer) const { return transfers(layer).ranks[group.me.index()]; }
  [[nodiscard]] bool is_left(int layer) const { return !committed[to_size(layer)]; }

  void join(Communicator& the_comm, RegisteredWeights const& the_weights) {
    RebalanceRun::join({"plan", plan.before, options.dead_ranks, plan.fingerprint().value}, the_comm, the_weights);
  }
  [[nodiscard]] std::int64_t staging_bytes(RegisteredWeights const& weights, int layer) const;
  /// Of the layers that are left: all together, or the largest.
  [[nodiscard]] std::int64_t staging_bytes_left(RegisteredWeights const& weights, bool together) const;
  void reserve(std::int64_t bytes);
  void note_peak(std::int64_t checksum_bytes) {
    result.peak_staging_bytes = std::max(result.peak_staging_bytes, reserved_bytes + checksum_bytes);
  }
  StagedLayer make_layer(RegisteredWeights const& weights, int layer, std::int64_t offset, bool verify) const;
  void stage(Communicator& comm, StagedLayer& layer);
  void note_commit(int layer);
  void write(StagedLayer const& layer);
  void count(RegisteredWeights const& weights, int layer, RebalanceResult& sums) const;
  void execute_in_place(Communicator& comm, RegisteredWeights const& weights);
  void execute_buffered(Communicator& comm, RegisteredWeights const& weights);

  RebalancePlan const& plan;
  bool executed = false;
  std::vector<bool> committed{};  // [layers]
  std::unique_ptr<std::byte[]> staging{};
  std::int64_t reserved_bytes = 0;
  Communicator* comm = nullptr;  // between begin() and commit(), as the two below
  RegisteredWeights const* weights = nullptr;
  std::optional<StagedLayer> moving{};
  bool all_here = false;
};

std::int64_t RebalanceExecutor::State::staging_bytes(RegisteredWeights const& the_weights, int layer) const {
  return StagedLayer::staging_bytes(my_transfers(layer), the_weights, layer);
}

std::int64_t RebalanceExecutor::State::staging_bytes_left(RegisteredWeights const& the_weights, bool together) const {
  std::int64_t total = 0;
  for (int layer = 0; layer < num_layers(); ++layer) {
    std::int64_t const bytes = is_left(layer) ? staging_bytes(the_weights, layer) : 0;
    total = together ? checked_add(total, bytes) : std::max(total, bytes);
  }
  return total;
}

void RebalanceExecutor::State::reserve(std::int64_t bytes) {
  staging.reset();
  staging = allocate_staging(bytes);
  reserved_bytes = bytes;
}

StagedLayer RebalanceExecutor::State::make_layer(RegisteredWeights const& the_weights, int layer, std::int64_t offset,
                                                 bool verify) const {
  auto const buffer = std::span(staging.get(), to_size(reserved_bytes))
                          .subspan(to_size(offset), to_size(staging_bytes(the_weights, layer)));
  return StagedLayer(my_transfers(layer), group, the_weights, layer, verify, buffer);
}

/// Brings the layer's new rows into staging, verified.
void RebalanceExecutor::State::stage(Communicator& the_comm, StagedLayer& staged) {
  int const layer = staged.layer();
  step(RebalanceStepKind::stage, layer);
  staged.copy_local();
  step(RebalanceStepKind::exchange, layer);
  staged.exchange(the_comm, call(fmt::format("rebalance layer {}", layer)));
  step(RebalanceStepKind::verify, layer);
  staged.verify();
}

/// From here on the layer is in `after` for everybody: no rank waits for another one any more.
void RebalanceExecutor::State::note_commit(int layer) {
  committed[to_size(layer)] = true;
  ++result.layers_committed;
}

void RebalanceExecutor::State::write(StagedLayer const& staged) {
  int const layer = staged.layer();
  for (std::size_t i = 0; i < staged.num_rows(); ++i) {
    step(RebalanceStepKind::write_row, layer, true);
    staged.write_row(i);
  }
  step(RebalanceStepKind::write_duplicates, layer, true);
  staged.write_duplicates();
  step(RebalanceStepKind::verify_written, layer, true);
  staged.verify_written();
}

void RebalanceExecutor::State::count(RegisteredWeights const& the_weights, int layer, RebalanceResult& sums) const {
  RankTransfers const& mine = my_transfers(layer);
  std::int64_t const bytes = the_weights.expert_bytes(layer);
  sums.bytes_sent += static_cast<std::int64_t>(mine.sends.size()) * bytes;
  sums.bytes_received += static_cast<std::int64_t>(mine.receives.size()) * bytes;
  sums.bytes_copied += static_cast<std::int64_t>(mine.local_copies.size() + mine.duplicates.size()) * bytes;
}

/// The layers share one piece of staging.
void RebalanceExecutor::State::execute_in_place(Communicator& the_comm, RegisteredWeights const& the_weights) {
  for (int layer = 0; layer < num_layers(); ++layer) {
    if (!is_left(layer)) continue;
    if (!moves_anything(transfers(layer))) {
      note_commit(layer);
      continue;
    }
    StagedLayer staged = make_layer(the_weights, layer, 0, options.verify_rows);
    note_peak(staged.checksum_bytes());
    stage(the_comm, staged);
    count(the_weights, layer, result);
    acknowledge(the_comm, fmt::format("rebalance layer {}: acknowledge", layer), layer);
    note_commit(layer);
    write(staged);
  }
}

/// Every layer keeps its own piece until the end.
void RebalanceExecutor::State::execute_buffered(Communicator& the_comm, RegisteredWeights const& the_weights) {
  std::vector<StagedLayer> all;
  std::int64_t offset = 0;
  std::int64_t checksums = 0;
  for (int layer = 0; layer < num_layers(); ++layer) {
    if (!is_left(layer) || !moves_anything(transfers(layer))) continue;
    all.push_back(make_layer(the_weights, layer, offset, options.verify_rows));
    offset += staging_bytes(the_weights, layer);
    checksums += all.back().checksum_bytes();
    stage(the_comm, all.back());
    count(the_weights, layer, result);
  }
  note_peak(checksums);
  acknowledge(the_comm, "rebalance: acknowledge all layers", -1);
  for (int layer = 0; layer < num_layers(); ++layer)
    if (is_left(layer)) note_commit(layer);
  for (StagedLayer const& staged : all) write(staged);
}

std::string_view to_string(RebalanceMode mode) noexcept {
  return mode == RebalanceMode::buffered ? "buffered" : "in_place";
}

RebalanceExecutor::RebalanceExecutor(RebalancePlan const& plan, RebalanceOptions const& options)
    : state_(std::make_unique<State>(plan, options)) {}
RebalanceExecutor::~RebalanceExecutor() = default;
RebalanceExecutor::RebalanceExecutor(RebalanceExecutor&&) noexcept = default;
RebalanceExecutor& RebalanceExecutor::operator=(RebalanceExecutor&&) noexcept = default;

RebalanceResult RebalanceExecutor::execute(Communicator& comm, RegisteredWeights const& weights) {
  SWITCHYARD_REQUIRE(!state_->comm, invalid_argument, "a layer is under way: commit it before moving the others");
  SWITCHYARD_REQUIRE(!std::exchange(state_->executed, true), invalid_argument,
                     "this executor has run already: a plan moves the weights once; plan the next move from "
                     "committed_placement()");
  abort_on_failure(comm, [&] {
    State& state = *state_;
    state.step(RebalanceStepKind::check);
    state.join(comm, weights);
    bool const buffered = state.options.mode == RebalanceMode::buffered;
    state.reserve(state.staging_bytes_left(weights, buffered));
    state.note_peak(0);
    state.step(RebalanceStepKind::agree);
    comm.barrier(state.call("rebalance: agree on the plan"));
    buffered ? state.execute_buffered(comm, weights) : state.execute_in_place(comm, weights);
  });
  return state_->result;
}

void RebalanceExecutor::begin(Communicator& comm, RegisteredWeights const& weights, int layer) {
  abort_on_failure(comm, [&] {
    State& state = *state_;
    SWITCHYARD_REQUIRE(!state.comm, invalid_argument, "a layer is under way: commit it before layer {}", layer);
    SWITCHYARD_REQUIRE(layer >= 0 && layer < state.num_layers() && state.is_left(layer), invalid_argument,
                       "layer {} is outside [0, {}) or moved already", layer, state.num_layers());
    state.step(RebalanceStepKind::check, layer);
    state.join(comm, weights);
    state.moving.reset();
    state.reserve(state.staging_bytes(weights, layer));
    state.moving.emplace(state.make_layer(weights, layer, 0, state.options.verify_rows));
    state.note_peak(state.moving->checksum_bytes());
    state.step(RebalanceStepKind::agree, layer);
    comm.barrier(state.call(fmt::format("rebalance: begin layer {}", layer)));
    state.comm = &comm;
    state.weights = &weights;
    state.all_here = !moves_anything(state.transfers(layer));
  });
}

bool RebalanceExecutor::poll() {
  State& state = *state_;
  SWITCHYARD_REQUIRE(state.comm != nullptr, invalid_argument, "no layer is under way: call begin() first");
  if (state.all_here) return true;
  abort_on_failure(*state.comm, [&] {
    int const layer = state.moving->layer();
    state.stage(*state.comm, *state.moving);
    state.count(*state.weights, layer, state.result);
    state.acknowledge(*state.comm, fmt::format("rebalance layer {}: acknowledge", layer), layer);
    state.all_here = true;
  });
  return true;
}

void RebalanceExecutor::commit() {
  State& state = *state_;
  SWITCHYARD_REQUIRE(state.comm != nullptr && state.all_here, invalid_argument,
                     "not every row is there: commit() follows the poll() that returns true");
  Communicator& comm = *std::exchange(state.comm, nullptr);
  abort_on_failure(comm, [&] {
    state.note_commit(state.moving->layer());
    state.write(*state.moving);
  });
}

RebalanceResult RebalanceExecutor::profile(Communicator& comm, RegisteredWeights const& weights) {
  RebalanceResult sizes;
  abort_on_failure(comm, [&] {
    State& state = *state_;
    SWITCHYARD_REQUIRE(!state.comm, invalid_argument, "a layer is under way: commit it before profiling");
    state.step(RebalanceStepKind::check);
    state.join(comm, weights);
    state.reserve(state.staging_bytes_left(weights, false));
    sizes.peak_staging_bytes = state.reserved_bytes;
    for (int layer = 0; layer < state.num_layers(); ++layer) {
      if (!moves_anything(state.transfers(layer))) continue;
      StagedLayer scratch = state.make_layer(weights, layer, 0, state.options.verify_rows);
      state.step(RebalanceStepKind::profile, layer);
      scratch.exchange(comm, state.call(fmt::format("rebalance profile {}", layer)));
      state.count(weights, layer, sizes);
    }
  });
  sizes.bytes_copied = 0;
  return sizes;
}

RebalanceResult const& RebalanceExecutor::result() const noexcept {
  return state_->result;
}

int RebalanceExecutor::layers_committed() const noexcept {
  return state_->result.layers_committed;
}

ExpertPlacement RebalanceExecutor::committed_placement() const {
  ExpertPlacement const& before = state_->plan.before;
  std::vector<ExpertId> slots;
  for (int layer = 0; layer < before.num_layers(); ++layer) {
    auto const now = state_->is_left(layer) ? before.layer(layer) : state_->plan.after.layer(layer);
    slots.insert(slots.end(), now.begin(), now.end());
  }
  return ExpertPlacement(before.num_layers(), before.num_experts(), before.layout(), std::move(slots));
}

void RebalanceExecutorAccess::set_step_hook(RebalanceExecutor& executor, RebalanceStepHook hook) {
  executor.state_->hook = std::move(hook);
}

}  // namespace switchyard::cpu
