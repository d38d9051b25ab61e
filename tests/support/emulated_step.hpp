// SPDX-License-Identifier: Apache-2.0
/// EmulatedRank: one rank's memory of a fused step, as FusedExecutor and DevicePlanner lay it out, on the host; with
/// the parameters of its three kernels. Everything that a step writes is poisoned.
#pragma once

#include "emulated_blocks.hpp"
// The kernels come behind the emulation.
#include <algorithm>

#include "fused_block_step.cuh"
#include "fused_combine_few.cuh"
#include "fused_dispatch_few.cuh"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/replica_routing.hpp"

namespace support {

using namespace switchyard;  // NOLINT: test helpers read like the library
using Integers = std::vector<std::int64_t>;
using Narrow = std::vector<std::int32_t>;

struct EmulatedShape {
  int ranks;
  int experts;
  int slots;
  int columns;
  int words;  ///< of 16 bytes in a row of f32
  std::int64_t max_tokens;

  [[nodiscard]] std::int64_t choices() const { return max_tokens * columns; }
  [[nodiscard]] std::int64_t hidden() const { return std::int64_t{words} * 4; }
  [[nodiscard]] std::int64_t slot_bytes() const { return std::int64_t{words} * 16 + (columns * 4 + 15) / 16 * 16; }
};

struct EmulatedRank {
  EmulatedRank(EmulatedShape const& given, int rank, RoutingMap const& given_routing, ExpertPlacement const& placement)
      : shape(given),
        routing(given_routing),
        self(rank),
        tokens_here(given_routing.num_tokens()),
        first_slot(placement.layout().first_slot(RankId{rank}).value()),
        locals(static_cast<std::int32_t>(placement.layout().slots_of(RankId{rank}))) {
    load_tables(placement);
    poison_lists();
    tokens.resize(to_size(tokens_here * shape.hidden()));
    expert_rows.resize(to_size(shape.choices() * shape.ranks * shape.hidden()));
    term_weights.resize(to_size(shape.choices() * shape.ranks));
    out.resize(tokens.size());
    progress.assign(sizeof(cuda::FusedProgress) / 8 + cuda::kMostClaims / 2 + cuda::kMostClaims + 1, 0);
    state().generation = 2;
    cuda::PlanBlockShape const block = block_shape();
    shared.assign(cuda::plan_block_bytes(block) / 8 + 2, 0xa5a5a5a5a5a5a5a5ULL);
    windows = window_of(shape);
    window.assign(to_size((windows.slots_offset + 2 * windows.half_bytes) / 8), 0);
    std::fill(window.begin() + windows.slots_offset / 8, window.end(), 0xcdcdcdcdcdcdcdcdULL);
  }

  [[nodiscard]] cuda::FusedProgress& state() { return *reinterpret_cast<cuda::FusedProgress*>(progress.data()); }
  [[nodiscard]] cuda::PlanBlockShape block_shape() const {
    return {shape.ranks, static_cast<std::int32_t>(shape.max_tokens), shape.columns, shape.slots};
  }
  void connect(std::vector<std::unique_ptr<EmulatedRank>>& ranks) {
    for (auto& rank : ranks) peers.push_back(reinterpret_cast<std::byte*>(rank->window.data()));
    windows.rank = self;
    windows.own = peers[to_size(self)];
    windows.peers = peers.data();
    windows.progress = &state();
    windows.claims = reinterpret_cast<unsigned*>(windows.progress + 1);
    windows.left = reinterpret_cast<std::uint64_t*>(windows.claims + cuda::kMostClaims);
  }

  [[nodiscard]] cuda::FusedPlanBlockParams plan_params() {
    cuda::FusedPlanBlockParams params{};
    params.call = call(1, choices_to, choices_to);
    params.shape = block_shape();
    params.routing.ids = ids.data();
    params.routing.weights = weights.data();
    params.routing.tokens = tokens_here;
    params.routing.columns = shape.columns;
    params.routing.experts = shape.experts;
    params.routing.replica_begin = replica_begin.data();
    params.routing.replica_slots = replica_slots.data();
    params.routing.context = {ReplicaRule::token_rank_layer, 0, 0, self, shape.columns};
    params.routing.error = error;
    params.sorts = sorts();
    params.finish = finish();
    params.lists = fused_lists();
    return params;
  }
  [[nodiscard]] cuda::FusedDispatchParams dispatch_params() {
    cuda::FusedDispatchParams params{};
    params.call = call(2, rank_send, rank_receive);
    params.tokens = tokens.data();
    params.row_bytes = std::int64_t{shape.words} * 16;
    params.num_tokens = tokens_here;
    params.weights = weights.data();
    params.columns = shape.columns;
    params.sent_begin = sent_begin.data();
    params.sent_to = sent_to.data();
    params.sent_slot = sent_slot.data();
    params.own_terms = own_terms.data();
    params.remote = remote();
    params.places = places.data();
    params.term_column = term_column.data();
    params.num_places = shape.choices() * shape.ranks;
    params.output = expert_rows.data();
    params.term_weights = term_weights.data();
    return params;
  }
  [[nodiscard]] cuda::FusedCombineParams combine_params() {
    cuda::FusedCombineParams params{};
    params.call = call(3, rank_receive, rank_send);
    params.dtype = DType::f32;
    params.rows = expert_rows.data();
    params.columns = shape.hidden();
    params.places = places.data();
    params.term_weights = term_weights.data();
    params.own_terms = own_terms.data();
    params.remote = remote();
    params.return_slot = return_slot.data();
    params.join_begin = join_begin.data();
    params.join_slots = join_slots.data();
    params.num_tokens = tokens_here;
    params.output = out.data();
    return params;
  }
  /// As launch_duplex() does. @param workers that move words
  [[nodiscard]] EmulatedGrid few_grid(unsigned workers) const {
    std::int64_t const rows_most = std::max(tokens_here, shape.max_tokens * (shape.ranks - 1));
    return {static_cast<unsigned>(rows_most) + 1, workers + cuda::kCourierThreads};
  }

  static constexpr std::int32_t kPoison = 1 << 28;
  struct Lists {
    Integers input;
    Integers column;
    Integers begin;
    Integers listed;
  };

  EmulatedShape shape;
  RoutingMap routing;
  int self;
  std::int64_t tokens_here;
  std::int32_t first_slot;
  std::int32_t locals;
  cuda::FusedWindows windows{};
  std::vector<std::uint64_t> window, progress, shared;
  std::vector<std::byte*> peers;
  Narrow ids, replica_begin{0}, replica_slots, first_slot_of, rank_of_slot, chunk_of;
  Lists rows, sent, expansion;
  Integers rows_per_slot, tokens_per_local, chunk_sizes, arrived, lane_send, lane_receive, tp_receive, rank_send,
      rank_receive, tokens_of_rank, choices_to;
  Narrow sent_begin, join_begin, sent_to, sent_slot, join_slots, remote_from, remote_slot, return_slot, places,
      term_column;
  std::vector<cuda::FusedTerms> own_terms, remote_terms;
  std::int64_t tp_own = 0;
  std::int64_t num_remote = 0;
  std::int64_t numbers[cuda::kPlanNumberCount] = {};
  unsigned long long error[2] = {};
  std::vector<float> weights, tokens, expert_rows, term_weights, out;

 private:
  void load_tables(ExpertPlacement const& placement) {
    ids.assign(routing.ids().begin(), routing.ids().end());
    weights.assign(routing.weights().begin(), routing.weights().end());
    ReplicaTable const table(placement, 0);
    for (ExpertId expert(0); expert.value() < shape.experts; ++expert) {
      for (SlotId const slot : table.replicas(expert)) replica_slots.push_back(slot.value());
      replica_begin.push_back(static_cast<std::int32_t>(replica_slots.size()));
    }
    for (std::int32_t peer = 0; peer < shape.ranks; ++peer) {
      first_slot_of.push_back(placement.layout().first_slot(RankId{peer}).value());
      rank_of_slot.insert(rank_of_slot.end(), to_size(placement.layout().slots_of(RankId{peer})), peer);
      chunk_of.push_back(peer);
    }
    first_slot_of.push_back(shape.slots);
  }
  void poison_lists() {
    std::int64_t const arriving = shape.choices() * shape.ranks;
    std::int64_t const carried = shape.max_tokens * shape.ranks;
    rows = lists(shape.choices(), shape.max_tokens);
    sent = lists(carried, shape.max_tokens);
    expansion = lists(arriving, carried);
    for (Narrow* list : {&sent_begin, &join_begin}) list->assign(to_size(shape.max_tokens + 1), kPoison);
    for (Narrow* list : {&sent_to, &sent_slot, &join_slots, &remote_from, &remote_slot, &return_slot})
      list->assign(to_size(carried), kPoison);
    own_terms.assign(to_size(shape.max_tokens), {kPoison, kPoison});
    remote_terms.assign(to_size(carried), {kPoison, kPoison});
    for (Narrow* list : {&places, &term_column}) list->assign(to_size(arriving), kPoison);
    for (Integers* list :
         {&arrived, &lane_send, &lane_receive, &tp_receive, &rank_send, &rank_receive, &tokens_of_rank, &choices_to})
      list->assign(to_size(shape.ranks), shape.choices());
    rows_per_slot.assign(to_size(shape.slots), kPoison);
    tokens_per_local.assign(to_size(locals), kPoison);
    chunk_sizes.assign(to_size(shape.ranks * locals), kPoison);
  }
  static Lists lists(std::int64_t rows, std::int64_t inputs) {
    Integers const of_rows(to_size(rows), kPoison);
    return {of_rows, of_rows, Integers(to_size(inputs + 1), kPoison), of_rows};
  }
  static cuda::FusedWindows window_of(EmulatedShape const& shape) {
    cuda::FusedWindows windows{};
    std::int64_t const capacity = shape.max_tokens + 2;
    windows.world = shape.ranks;
    windows.capacity = capacity;
    windows.weights_offset = std::int64_t{shape.words} * 16;
    windows.slot_bytes = shape.slot_bytes();
    windows.half_bytes = shape.ranks * capacity * windows.slot_bytes;
    windows.tags_offset = 2 * shape.ranks * std::int64_t{sizeof(cuda::FusedSignal)};
    windows.words_offset = windows.tags_offset + shape.ranks * capacity * 16;
    windows.words = shape.choices();
    windows.slots_offset = (windows.words_offset + shape.ranks * windows.words * 16 + 15) / 16 * 16;
    return windows;
  }
  [[nodiscard]] cuda::FusedCall call(std::uint64_t digest, Integers const& sends, Integers const& expects) const {
    return {windows, digest, sends.data(), expects.data(), ~std::uint64_t{0}};
  }
  [[nodiscard]] cuda::FusedRemoteRows remote() const {
    return {remote_terms.data(), remote_from.data(), remote_slot.data(), shape.max_tokens * (shape.ranks - 1),
            &num_remote};
  }
  static void attach(cuda::PlanSort& sort, Lists& to) {
    sort.max_rows = static_cast<std::int64_t>(to.input.size());
    sort.row_input = to.input.data();
    sort.row_column = to.column.data();
    sort.input_begin = to.begin.data();
    sort.input_rows = to.listed.data();
  }
  [[nodiscard]] cuda::PlanSorts sorts() {
    cuda::PlanSorts all{};
    all.count = 3;
    attach(all.sort[0], rows);
    attach(all.sort[1], sent);
    attach(all.sort[2], expansion);
    all.sort[1].keys.rank_of_slot = rank_of_slot.data();
    all.sort[2].keys = {hd::PlanKey::local_id, rank_of_slot.data(), shape.ranks, first_slot, locals};
    return all;
  }
  [[nodiscard]] cuda::PlanFinish finish() {
    cuda::PlanFinish finish{};
    finish.own = 0;
    finish.unique = 1;
    finish.arrival = 2;
    finish.tp = 1;
    finish.ep = shape.ranks;
    finish.rank = self;
    finish.num_slots = shape.slots;
    finish.first_slot = first_slot;
    finish.num_local = locals;
    finish.first_slot_of = first_slot_of.data();
    finish.position_of = chunk_of.data();
    finish.chunk_of = chunk_of.data();
    finish.rows_per_slot = rows_per_slot.data();
    finish.tokens_per_local = tokens_per_local.data();
    finish.chunk_sizes = chunk_sizes.data();
    finish.arrived = arrived.data();
    finish.lane_send = lane_send.data();
    finish.lane_receive = lane_receive.data();
    finish.tp_own = &tp_own;
    finish.tp_receive = tp_receive.data();
    finish.rank_send = rank_send.data();
    finish.rank_receive = rank_receive.data();
    finish.tokens_of_rank = tokens_of_rank.data();
    finish.numbers = numbers;
    finish.max_expert_rows = shape.choices() * shape.ranks;
    finish.error = error;
    return finish;
  }
  [[nodiscard]] cuda::FusedPlanParams fused_lists() {
    cuda::FusedPlanParams lists{};
    lists.windows = windows;
    lists.tokens = tokens_here;
    lists.plan_error = error;
    lists.max_expert_rows = shape.choices() * shape.ranks;
    lists.sent_begin = sent_begin.data();
    lists.sent_to = sent_to.data();
    lists.sent_slot = sent_slot.data();
    lists.own_terms = own_terms.data();
    lists.places = places.data();
    lists.term_column = term_column.data();
    lists.remote_terms = remote_terms.data();
    lists.remote_from = remote_from.data();
    lists.remote_slot = remote_slot.data();
    lists.return_slot = return_slot.data();
    lists.num_remote = &num_remote;
    lists.join_begin = join_begin.data();
    lists.join_slots = join_slots.data();
    return lists;
  }
};

}  // namespace support
