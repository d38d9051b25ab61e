// SPDX-License-Identifier: Apache-2.0
#include "rebalance_state.hpp"

#include <algorithm>
#include <utility>

#include "nvtx_range.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {

RebalanceExecutor::State::State(Source the_source, RebalanceOptions const& the_options)
    : source(the_source), options(the_options) {
  std::visit([](auto const* plan) { require_valid(*plan); }, source);
  progress.resize(to_size(num_layers()));
  if (options.mode == RebalanceMode::in_place) return;
  for (int layer = 0; layer < num_layers(); ++layer)
    SWITCHYARD_REQUIRE(is_layer_buffered(layer), invalid_argument,
                       "layer {} writes slots in its rounds, so it cannot be buffered: execute it in place, or plan "
                       "it with full buffering",
                       layer);
}

/// Finds this rank's place in the group and what the group must agree on.
void RebalanceExecutor::State::join(RebalanceLinks const& the_links, RegisteredWeights const& weights) {
  bool const everybody = the_links.control.size() == before().num_ranks();
  living.clear();
  if (schedule() != nullptr) living = group_ranks(*schedule(), everybody);
  for (RankId rank(0); schedule() == nullptr && rank.value() < before().num_ranks(); ++rank) living.push_back(rank);
  check_shapes(the_links, weights);
  me = living[the_links.control.rank().index()];
  int const slots = before().layout().slots_of(me);
  for (int layer = 0; layer < num_layers(); ++layer)
    SWITCHYARD_REQUIRE(weights.num_rows(layer) == slots, shape_mismatch,
                       "rank {} has {} slots in the plan, but its tensors of layer {} have {} rows", me.value(), slots,
                       layer, weights.num_rows(layer));
  FingerprintBuilder digest;
  std::uint64_t const plan = std::visit([](auto const* given) { return given->fingerprint().value; }, source);
  digest.add(1, static_cast<std::int64_t>(plan));
  digest.add(2, static_cast<std::int64_t>(weights.shape_fingerprint().value));
  digest.add(3, static_cast<std::int64_t>(options.mode));
  digest.add(4, static_cast<std::int64_t>(options.verify_rows));
  agreement = digest.result().value;
}

void RebalanceExecutor::State::check_shapes(RebalanceLinks const& the_links, RegisteredWeights const& weights) const {
  int const size = the_links.control.size();
  SWITCHYARD_REQUIRE(size == the_links.data.size() && the_links.control.rank() == the_links.data.rank(), shape_mismatch,
                     "the two communicators differ: rank {} of {} and rank {} of {}", the_links.control.rank().value(),
                     size, the_links.data.rank().value(), the_links.data.size());
  SWITCHYARD_REQUIRE(std::cmp_equal(size, living.size()), shape_mismatch,
                     "the plan is for {} ranks, {} of them in the group; the group has {}", before().num_ranks(),
                     living.size(), size);
  SWITCHYARD_REQUIRE(weights.num_layers() == num_layers(), shape_mismatch,
                     "the plan has {} layers, rank {} registered weights of {}", num_layers(),
                     the_links.control.rank().value(), weights.num_layers());
}

LayerMoves RebalanceExecutor::State::moves(int layer) const {
  if (schedule() != nullptr) return layer_moves(*schedule(), layer, me, living);
  return layer_moves(*std::get<RebalancePlan const*>(source), layer, me);
}

/// What is issued from now on comes after the caller's work, and the other way round.
void RebalanceExecutor::State::follow(StreamView caller) {
  caller_done.view().record(caller);
  stream.view().wait(caller_done);
}
void RebalanceExecutor::State::lead(StreamView caller) {
  rows_done.view().record(stream);
  caller.wait(rows_done);
}

void RebalanceExecutor::State::issue_round(RebalanceLinks const& the_links, RebalanceLayer& rows, int index) {
  NvtxRange const range("move rows");
  int const layer = rows.moves().layer;
  progress[to_size(layer)].next_round_started = true;
  rows.exchange(index, the_links.data, stream, call(fmt::format("rebalance layer {} round {}", layer, index)), true);
}

void RebalanceExecutor::State::finish_round(RebalanceLinks const& the_links, RebalanceLayer& rows, int index) {
  NvtxRange const range("verify rows");
  the_links.data.wait(stream, options.deadline);
  rows.verify_arrivals(index, stream);
  RoundMoves const& moves = rows.moves().rounds[to_size(index)];
  result.bytes_sent += static_cast<std::int64_t>(moves.sends.size()) * rows.expert_bytes();
  result.bytes_received += static_cast<std::int64_t>(moves.receives.size()) * rows.expert_bytes();
}

/// A buffered layer is acknowledged once, at its end: until then nothing that counts has been overwritten.
void RebalanceExecutor::State::run_rounds(RebalanceLinks const& the_links, RebalanceLayer& rows) {
  LayerMoves const& moves = rows.moves();
  rows.copy(moves.opening, stream);
  for (int index = 0; index < rows.num_rounds(); ++index) {
    issue_round(the_links, rows, index);
    finish_round(the_links, rows, index);
    if (moves.buffered && index + 1 < rows.num_rounds()) continue;
    the_links.control.barrier(call(fmt::format("rebalance layer {} round {}: acknowledge", moves.layer, index)));
    progress[to_size(moves.layer)] = {index + 1, false, false};
    if (!moves.buffered) write(rows, moves.rounds[to_size(index)].copies);
  }
}

void RebalanceExecutor::State::write(RebalanceLayer& rows, std::span<OwnCopy const> copies) {
  NvtxRange const range("write slots");
  rows.copy(copies, stream);
  result.bytes_copied += static_cast<std::int64_t>(copies.size()) * rows.expert_bytes();
}

/// From here on the layer is in `after` for everybody: no rank waits for another one any more.
void RebalanceExecutor::State::commit(RebalanceLayer& rows) {
  progress[to_size(rows.moves().layer)].committed = true;
  ++result.layers_committed;
  write(rows, rows.moves().commit);
  rows.verify_written(stream);
}

void RebalanceExecutor::State::execute_in_place(RebalanceLinks const& the_links, RegisteredWeights const& weights) {
  for (int layer = 0; layer < num_layers(); ++layer) {
    if (progress[to_size(layer)].committed) continue;
    RebalanceLayer rows(moves(layer), weights, me, options.verify_rows);
    result.peak_staging_bytes = std::max(result.peak_staging_bytes, rows.extra_bytes());
    run_rounds(the_links, rows);
    commit(rows);
    stream.view().synchronize();  // before the spare rows are freed
  }
}

void RebalanceExecutor::State::execute_buffered(RebalanceLinks const& the_links, RegisteredWeights const& weights) {
  std::vector<std::unique_ptr<RebalanceLayer>> all;
  std::int64_t extra = 0;
  for (int layer = 0; layer < num_layers(); ++layer) {
    if (progress[to_size(layer)].committed) continue;
    all.push_back(std::make_unique<RebalanceLayer>(moves(layer), weights, me, options.verify_rows));
    extra += all.back()->extra_bytes();
  }
  result.peak_staging_bytes = std::max(result.peak_staging_bytes, extra);
  for (auto& rows : all) {
    rows->copy(rows->moves().opening, stream);
    for (int index = 0; index < rows->num_rounds(); ++index) {
      issue_round(the_links, *rows, index);
      finish_round(the_links, *rows, index);
    }
  }
  the_links.control.barrier(call("rebalance: acknowledge all layers"));
  for (auto& rows : all) progress[to_size(rows->moves().layer)].committed = true;
  result.layers_committed += static_cast<int>(all.size());
  for (auto& rows : all) write(*rows, rows->moves().commit);
  for (auto& rows : all) rows->verify_written(stream);
  stream.view().synchronize();
}

void RebalanceExecutor::State::profile_layer(RebalanceLinks const& the_links, RebalanceLayer& rows,
                                             RebalanceResult& sizes) {
  sizes.peak_staging_bytes = std::max(sizes.peak_staging_bytes, rows.extra_bytes());
  for (int index = 0; index < rows.num_rounds(); ++index) {
    auto const operation = fmt::format("rebalance profile {} {}", rows.moves().layer, index);
    rows.exchange(index, the_links.data, stream, call(operation), false);
    the_links.data.wait(stream, options.deadline);
    RoundMoves const& moves = rows.moves().rounds[to_size(index)];
    sizes.bytes_sent += static_cast<std::int64_t>(moves.sends.size()) * rows.expert_bytes();
    sizes.bytes_received += static_cast<std::int64_t>(moves.receives.size()) * rows.expert_bytes();
  }
}

}  // namespace switchyard::cuda
