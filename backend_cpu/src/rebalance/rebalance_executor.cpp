// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/rebalance_executor.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "abort_on_failure.hpp"
#include "staged_layer.hpp"
#include "staging_memory.hpp"
#include "switchyard/cpu/internal/rebalance_steps.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {

struct RebalanceExecutor::State {
  State(RebalancePlan const& the_plan, RebalanceOptions const& the_options) : plan(the_plan), options(the_options) {
    require_valid(plan);
  }

  RebalancePlan const& plan;
  RebalanceOptions options;
  RebalanceStepHook hook{};
  int next_step = 0;
  int layers_committed = 0;
  bool started = false;

  void step(RebalanceStepKind kind, int layer = -1, bool committing = false) {
    if (hook) hook({next_step, kind, layer, committing, -1});
    ++next_step;
  }
  [[nodiscard]] RankTransfers const& transfers(int layer, RankId rank) const {
    return plan.layers[static_cast<std::size_t>(layer)].ranks[rank.index()];
  }
};

namespace {

bool moves_anything(LayerTransfers const& layer) {
  return std::any_of(layer.ranks.begin(), layer.ranks.end(), [](RankTransfers const& rank) {
    return !rank.sends.empty() || !rank.local_copies.empty() || !rank.duplicates.empty();
  });
}

}  // namespace

/// One execution on one rank.
class RebalanceExecutor::Run {
 public:
  Run(State& state, Communicator& comm, ExpertWeights const& weights)
      : state_(state), comm_(comm), weights_(weights), me_(comm.rank()) {}

  RebalanceResult run() {
    state_.step(RebalanceStepKind::check);
    check_shapes();
    reserve_staging();
    state_.step(RebalanceStepKind::agree);
    comm_.barrier(options("rebalance: agree on the plan"));
    if (state_.options.mode == RebalanceMode::buffered)
      run_buffered();
    else
      run_in_place();
    result_.layers_committed = state_.layers_committed;
    return result_;
  }

 private:
  [[nodiscard]] int num_layers() const { return state_.plan.before.num_layers(); }

  void check_shapes() const {
    RebalancePlan const& plan = state_.plan;
    SWITCHYARD_REQUIRE(comm_.size() == plan.before.num_ranks(), shape_mismatch,
                       "the plan is for {} ranks, the group has {}", plan.before.num_ranks(), comm_.size());
    SWITCHYARD_REQUIRE(weights_.num_layers() == num_layers(), shape_mismatch,
                       "the plan has {} layers, rank {} registered weights of {}", num_layers(), me_.value(),
                       weights_.num_layers());
    int const slots = plan.before.layout().slots_of(me_);
    for (int layer = 0; layer < num_layers(); ++layer)
      SWITCHYARD_REQUIRE(weights_.num_rows(layer) == slots, shape_mismatch,
                         "rank {} has {} slots in the plan, but its tensors of layer {} have {} rows", me_.value(),
                         slots, layer, weights_.num_rows(layer));
  }

  /// In place the layers share one piece; buffered every layer keeps its own until the end.
  void reserve_staging() {
    std::int64_t total = 0;
    std::int64_t largest = 0;
    for (int layer = 0; layer < num_layers(); ++layer) {
      std::int64_t const bytes = StagedLayer::staging_bytes(state_.transfers(layer, me_), weights_, layer);
      total = checked_add(total, bytes);
      largest = std::max(largest, bytes);
    }
    staging_bytes_ = state_.options.mode == RebalanceMode::buffered ? total : largest;
    staging_ = allocate_staging(staging_bytes_);
    result_.peak_staging_bytes = staging_bytes_;
  }

  /// What all ranks must agree on; equal for every call of this execution.
  [[nodiscard]] std::uint64_t agreement() const {
    FingerprintBuilder digest;
    digest.add(1, static_cast<std::int64_t>(state_.plan.fingerprint().value));
    digest.add(2, static_cast<std::int64_t>(weights_.shape_fingerprint().value));
    digest.add(3, static_cast<std::int64_t>(state_.options.mode));
    digest.add(4, static_cast<std::int64_t>(state_.options.verify_rows));
    return digest.result().value;
  }

  [[nodiscard]] CallOptions options(std::string_view operation) const {
    return {.operation = operation, .configuration = agreement_, .deadline = state_.options.deadline};
  }

  void run_in_place() {
    for (int layer = 0; layer < num_layers(); ++layer) {
      if (moves_anything(state_.plan.layers[static_cast<std::size_t>(layer)])) {
        StagedLayer staged = stage(layer, 0);
        result_.peak_staging_bytes = std::max(result_.peak_staging_bytes, staging_bytes_ + staged.checksum_bytes());
        acknowledge(fmt::format("rebalance layer {}: acknowledge", layer), layer);
        write(staged, layer);
      }
      state_.layers_committed = layer + 1;
    }
  }

  void run_buffered() {
    std::vector<std::pair<int, StagedLayer>> all;
    std::int64_t offset = 0;
    for (int layer = 0; layer < num_layers(); ++layer) {
      if (!moves_anything(state_.plan.layers[static_cast<std::size_t>(layer)])) continue;
      all.emplace_back(layer, stage(layer, offset));
      offset += StagedLayer::staging_bytes(state_.transfers(layer, me_), weights_, layer);
      result_.peak_staging_bytes += all.back().second.checksum_bytes();
    }
    acknowledge("rebalance: acknowledge all layers", -1);
    state_.layers_committed = num_layers();
    for (auto const& [layer, staged] : all) write(staged, layer);
  }

  /// Brings the layer's new rows into staging at `offset`, verified.
  StagedLayer stage(int layer, std::int64_t offset) {
    RankTransfers const& transfers = state_.transfers(layer, me_);
    auto const buffer = std::span(staging_.get(), static_cast<std::size_t>(staging_bytes_))
                            .subspan(static_cast<std::size_t>(offset),
                                     static_cast<std::size_t>(StagedLayer::staging_bytes(transfers, weights_, layer)));
    StagedLayer staged(transfers, weights_, layer, state_.options.verify_rows, buffer);
    state_.step(RebalanceStepKind::stage, layer);
    staged.copy_local();
    state_.step(RebalanceStepKind::exchange, layer);
    staged.exchange(comm_, options(fmt::format("rebalance layer {}", layer)));
    state_.step(RebalanceStepKind::verify, layer);
    staged.verify(me_);
    count(transfers, layer);
    return staged;
  }

  /// After this every rank holds all its rows, so that every rank may overwrite.
  void acknowledge(std::string const& operation, int layer) {
    state_.step(RebalanceStepKind::acknowledge, layer);
    comm_.barrier(options(operation));
  }

  void write(StagedLayer const& staged, int layer) {
    for (std::size_t i = 0; i < staged.num_rows(); ++i) {
      state_.step(RebalanceStepKind::write_row, layer, true);
      staged.write_row(i);
    }
    state_.step(RebalanceStepKind::write_duplicates, layer, true);
    staged.write_duplicates();
  }

  void count(RankTransfers const& transfers, int layer) {
    std::int64_t const bytes = weights_.expert_bytes(layer);
    result_.bytes_sent += static_cast<std::int64_t>(transfers.sends.size()) * bytes;
    result_.bytes_received += static_cast<std::int64_t>(transfers.receives.size()) * bytes;
    result_.bytes_copied +=
        static_cast<std::int64_t>(transfers.local_copies.size() + transfers.duplicates.size()) * bytes;
  }

  State& state_;
  Communicator& comm_;
  ExpertWeights const& weights_;
  RankId me_;
  std::uint64_t agreement_ = agreement();
  std::int64_t staging_bytes_ = 0;
  std::unique_ptr<std::byte[]> staging_{};
  RebalanceResult result_{};
};

std::string_view to_string(RebalanceMode mode) noexcept {
  return mode == RebalanceMode::buffered ? "buffered" : "in_place";
}

RebalanceExecutor::RebalanceExecutor(RebalancePlan const& plan, RebalanceOptions const& options)
    : state_(std::make_unique<State>(plan, options)) {}
RebalanceExecutor::~RebalanceExecutor() = default;
RebalanceExecutor::RebalanceExecutor(RebalanceExecutor&&) noexcept = default;
RebalanceExecutor& RebalanceExecutor::operator=(RebalanceExecutor&&) noexcept = default;

RebalanceResult RebalanceExecutor::execute(Communicator& comm, ExpertWeights const& weights) {
  SWITCHYARD_REQUIRE(!std::exchange(state_->started, true), invalid_argument,
                     "this executor has run already: a plan moves the weights once; plan the next move from "
                     "committed_placement()");
  return abort_on_failure(comm, [&] { return Run(*state_, comm, weights).run(); });
}

int RebalanceExecutor::layers_committed() const noexcept {
  return state_->layers_committed;
}

ExpertPlacement RebalanceExecutor::committed_placement() const {
  ExpertPlacement const& before = state_->plan.before;
  auto const done = static_cast<std::ptrdiff_t>(state_->layers_committed) * before.num_slots();
  auto const old_slots = before.slot_to_expert();
  auto const new_slots = state_->plan.after.slot_to_expert();
  std::vector<ExpertId> slots(new_slots.begin(), new_slots.begin() + done);
  slots.insert(slots.end(), old_slots.begin() + done, old_slots.end());
  return ExpertPlacement(before.num_layers(), before.num_experts(), before.layout(), std::move(slots));
}

void RebalanceExecutorAccess::set_step_hook(RebalanceExecutor& executor, RebalanceStepHook hook) {
  executor.state_->hook = std::move(hook);
}

}  // namespace switchyard::cpu
