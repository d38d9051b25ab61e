// SPDX-License-Identifier: Apache-2.0
/// BlockLists: the fused path's lists, from what one block's plan left in shared memory.
#pragma once

#include "fused_plan_kernels.hpp"
#include "plan_block_memory.cuh"

namespace switchyard::cuda {

class BlockLists {
 public:
  __device__ BlockLists(FusedPlanParams const& lists, PlanBlockTables const& plan)
      : lists_(lists), plan_(plan), self_(lists.windows.rank), world_(lists.windows.world) {}

  /// Where an expert row goes on to.
  __device__ void place_row(std::int32_t listed, std::int32_t row, std::int32_t column) const {
    lists_.places[listed] = row;
    lists_.term_column[listed] = column;
  }

  /// Every thread: its token.
  __device__ void place_token() const {
    auto const [source, token] = plan_.token_of(static_cast<std::int32_t>(threadIdx.x));
    if (threadIdx.x == 0) end_lists();
    if (source >= world_) return;
    if (source == self_ && token < lists_.tokens) place_own(token);
    if (source != self_ && plan_.is_received(source, token)) place_received(source, token);
  }

 private:
  [[nodiscard]] __device__ FusedTerms terms_of(std::int32_t source, std::int32_t token) const {
    return {plan_.before_token(source, token).locals(), plan_.up_to_token(source, token).locals()};
  }
  [[nodiscard]] __device__ std::int32_t slot_of_block(std::int32_t rank, std::int32_t place) const {
    return static_cast<std::int32_t>(rank * lists_.windows.capacity) + place;
  }

  __device__ void end_lists() const {
    PlanBlockMemory const& memory = plan_.memory;
    lists_.sent_begin[lists_.tokens] = memory.all.peers();
    lists_.join_begin[lists_.tokens] = memory.all.ranks();
    *lists_.num_remote = memory.all.received() - (memory.received_start[self_ + 1] - memory.received_start[self_]);
  }

  /// Destinations of a token of this rank.
  __device__ void place_own(std::int32_t token) const {
    TokenSums const before = plan_.before_token(self_, token);
    std::int32_t sent = before.peers();
    std::int32_t join = before.ranks();
    lists_.sent_begin[token] = sent;
    lists_.join_begin[token] = join;
    lists_.own_terms[token] = terms_of(self_, token);
    for (std::int32_t rank = 0; rank < world_; ++rank) {
      if (!plan_.is_sent(rank, token)) continue;
      if (rank == self_) {
        lists_.join_slots[join++] = -1;
        continue;
      }
      std::int32_t const place = plan_.place_in_sent(rank, token);
      lists_.join_slots[join++] = slot_of_block(rank, place);
      lists_.sent_to[sent] = rank;
      lists_.sent_slot[sent++] = slot_of_block(self_, place);
    }
  }

  /// Rows of peers are consumed in turns.
  __device__ void place_received(std::int32_t source, std::int32_t token) const {
    PlanBlockMemory const& memory = plan_.memory;
    std::int32_t const row = plan_.before_token(source, token).received();
    std::int32_t const place = row - memory.received_start[source];
    std::int32_t turn = 0;
    for (std::int32_t other = 0; other < world_; ++other) {
      std::int32_t const rows = memory.received_start[other + 1] - memory.received_start[other];
      std::int32_t const ahead = other < source ? place + 1 : place;
      if (other != self_) turn += rows < ahead ? rows : ahead;
    }
    lists_.remote_terms[turn] = terms_of(source, token);
    lists_.remote_from[turn] = source;
    lists_.remote_slot[turn] = slot_of_block(source, place);
    lists_.return_slot[turn] = slot_of_block(self_, place);
  }

  FusedPlanParams const& lists_;
  PlanBlockTables const& plan_;
  std::int32_t self_;
  std::int32_t world_;
};

}  // namespace switchyard::cuda
