// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/rebalance.hpp"

#include <algorithm>

#include "cuda_error.hpp"
#include "nvtx_range.hpp"
#include "rebalance_state.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

/// A rank that fails lets the others know.
template <typename Body>
void abort_on_failure(RebalanceLinks const& links, Body const& body) {
  auto const abort_all = [&](std::string const& why) {
    links.control.abort(why);
    links.data.abort(why);
  };
  try {
    body();
  } catch (std::exception const& error) {
    abort_all(fmt::format("rebalance: {}", error.what()));
    throw;
  } catch (...) {
    abort_all("rebalance: unknown exception");
    throw;
  }
}

}  // namespace

RebalanceExecutor::RebalanceExecutor(RebalancePlan const& plan, RebalanceOptions const& options)
    : state_(std::make_unique<State>(&plan, options)) {}
RebalanceExecutor::RebalanceExecutor(RebalanceSchedule const& schedule, RebalanceOptions const& options)
    : state_(std::make_unique<State>(&schedule, options)) {}
RebalanceExecutor::~RebalanceExecutor() = default;
RebalanceExecutor::RebalanceExecutor(RebalanceExecutor&&) noexcept = default;
RebalanceExecutor& RebalanceExecutor::operator=(RebalanceExecutor&&) noexcept = default;

RebalanceResult RebalanceExecutor::execute(RebalanceLinks const& links, RegisteredWeights const& weights,
                                           StreamView stream) {
  NvtxRange const range("rebalance");
  abort_on_failure(links, [&] {
    SWITCHYARD_REQUIRE(!state_->links, invalid_argument, "a layer is under way: commit it before moving the others");
    state_->join(links, weights);
    links.control.barrier(state_->call("rebalance: agree on the plan"));
    state_->follow(stream);
    if (state_->options.mode == RebalanceMode::buffered)
      state_->execute_buffered(links, weights);
    else
      state_->execute_in_place(links, weights);
    state_->lead(stream);
  });
  return state_->result;
}

void RebalanceExecutor::begin(RebalanceLinks const& links, RegisteredWeights const& weights, int layer,
                              StreamView stream) {
  NvtxRange const range("rebalance begin");
  abort_on_failure(links, [&] {
    SWITCHYARD_REQUIRE(!state_->links, invalid_argument, "a layer is under way: commit it before layer {}", layer);
    SWITCHYARD_REQUIRE(layer >= 0 && layer < state_->num_layers() && !state_->progress[to_size(layer)].committed,
                       invalid_argument, "layer {} is outside [0, {}) or moved already", layer, state_->num_layers());
    SWITCHYARD_REQUIRE(state_->is_layer_buffered(layer), invalid_argument,
                       "layer {} writes slots in its rounds, so it cannot be served meanwhile: execute() it, or plan "
                       "it with full buffering",
                       layer);
    state_->join(links, weights);
    state_->moving =
        std::make_unique<RebalanceLayer>(state_->moves(layer), weights, state_->me, state_->options.verify_rows);
    RebalanceLayer& rows = *state_->moving;
    state_->result.peak_staging_bytes = std::max(state_->result.peak_staging_bytes, rows.extra_bytes());
    links.control.barrier(state_->call(fmt::format("rebalance: begin layer {}", layer)));
    state_->follow(stream);
    rows.copy(rows.moves().opening, state_->stream);
    state_->round = 0;
    state_->all_here = rows.num_rounds() == 0;
    if (!state_->all_here) state_->issue_round(links, rows, 0);
    state_->links.emplace(links);
  });
}

bool RebalanceExecutor::ready() const {
  cudaError_t const status = cudaStreamQuery(state_->stream.view().handle());
  if (status != cudaErrorNotReady) SWITCHYARD_CUDA_TRY(status);
  return status == cudaSuccess;
}

bool RebalanceExecutor::poll() {
  SWITCHYARD_REQUIRE(state_->links.has_value(), invalid_argument, "no layer is under way: call begin() first");
  if (state_->all_here) return true;
  NvtxRange const range("rebalance poll");
  abort_on_failure(*state_->links, [&] {
    RebalanceLayer& rows = *state_->moving;
    state_->finish_round(*state_->links, rows, state_->round);
    if (++state_->round < rows.num_rounds()) {
      state_->issue_round(*state_->links, rows, state_->round);
      return;
    }
    auto const operation = fmt::format("rebalance layer {}: acknowledge", rows.moves().layer);
    state_->links->control.barrier(state_->call(operation));
    state_->all_here = true;
  });
  return state_->all_here;
}

void RebalanceExecutor::commit(StreamView stream) {
  SWITCHYARD_REQUIRE(state_->links.has_value() && state_->all_here, invalid_argument,
                     "not every row is there: commit() follows the poll() that returns true");
  NvtxRange const range("rebalance commit");
  RebalanceLinks const links = *state_->links;
  state_->links.reset();
  abort_on_failure(links, [&] {
    state_->follow(stream);
    state_->commit(*state_->moving);
    state_->lead(stream);
  });
}

RebalanceResult RebalanceExecutor::profile(RebalanceLinks const& links, RegisteredWeights const& weights,
                                           StreamView stream) {
  NvtxRange const range("rebalance profile");
  RebalanceResult sizes;
  abort_on_failure(links, [&] {
    SWITCHYARD_REQUIRE(!state_->links, invalid_argument, "a layer is under way: commit it before profile()");
    state_->join(links, weights);
    state_->follow(stream);
    for (int layer = 0; layer < state_->num_layers(); ++layer) {
      RebalanceLayer rows(state_->moves(layer), weights, state_->me, state_->options.verify_rows);
      state_->profile_layer(links, rows, sizes);
    }
    state_->lead(stream);
  });
  return sizes;
}

RebalanceResult const& RebalanceExecutor::result() const noexcept {
  return state_->result;
}

ExpertPlacement RebalanceExecutor::committed_placement() const {
  ExpertPlacement const& before = state_->before();
  std::vector<ExpertId> slots;
  for (int layer = 0; layer < state_->num_layers(); ++layer) {
    LayerProgress const& progress = state_->progress[to_size(layer)];
    auto const whole = progress.committed ? state_->after().layer(layer) : before.layer(layer);
    if (progress.committed || state_->is_layer_buffered(layer)) {
      slots.insert(slots.end(), whole.begin(), whole.end());
      continue;
    }
    auto const contents = contents_after(*state_->schedule(), layer, progress.rounds_done, progress.next_round_started);
    for (RankId rank(0); rank.index() < contents.rows.size(); ++rank) {
      auto const first = contents.rows[rank.index()].begin();
      slots.insert(slots.end(), first, first + before.layout().slots_of(rank));
    }
  }
  return ExpertPlacement(before.num_layers(), before.num_experts(), before.layout(), std::move(slots));
}

}  // namespace switchyard::cuda
