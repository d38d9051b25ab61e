// SPDX-License-Identifier: Apache-2.0
/// BlockPlanLists: writes the lists of a plan whose sums one block holds in shared memory.
#pragma once

#include <cstdint>

#include "plan_block_memory.cuh"
#include "plan_error.cuh"

namespace switchyard::cuda {

class BlockPlanLists {
 public:
  __device__ BlockPlanLists(PlanBlockTables const& tables, PlanSorts const& sorts, PlanFinish const& finish)
      : tables_(tables),
        memory_(tables.memory),
        own_sort_(sorts.sort[finish.own]),
        sent_sort_(sorts.sort[finish.unique]),
        arrival_(sorts.sort[finish.arrival]),
        finish_(finish) {}

  /// All threads of the block: everything of the plan, and its error word. Calls also(listed, row, column) for every
  /// expert row, which stands at `listed` in the list by received row. Rows are put in order in shared memory first:
  /// one multiprocessor takes long to store scattered words. @param rows of the thread's slot
  template <typename Also>
  __device__ void write(PlanSlotRows const& rows, Also const& also) const {
    auto const thread = static_cast<std::int32_t>(threadIdx.x);
    if (thread == kPlanBlockThreads - 1) write_numbers();
    order_rows();
    order_expert_rows();
    write_token(thread);
    write_slot(thread, rows);
    write_counts(thread);
    __syncthreads();
    write_rows();
    write_expert_rows(also);
  }

 private:
  struct Choice {
    std::int32_t token;
    std::int32_t column;
  };
  [[nodiscard]] __device__ Choice choice_at(std::int32_t i) const {
    std::int32_t const token = tables_.by_columns.quotient(i);
    return {token, i - token * tables_.shape.columns};
  }
  [[nodiscard]] __device__ static std::uint16_t narrow(std::int32_t value) { return static_cast<std::uint16_t>(value); }

  /// Rows of this rank by slot.
  __device__ void order_rows() const {
    std::int32_t const first = finish_.rank * tables_.choices;
    for (auto i = static_cast<std::int32_t>(threadIdx.x); i < tables_.choices; i += kPlanBlockThreads) {
      std::int32_t const slot = tables_.slots[first + i];
      if (slot < 0) continue;
      Choice const at = choice_at(i);
      std::int32_t listed = memory_.before_token[finish_.rank * tables_.shape.tokens + at.token].kept();
      for (std::int32_t other = 0; other < at.column; ++other)
        if (tables_.slots[first + i - at.column + other] >= 0) ++listed;
      std::int32_t const row =
          memory_.first_own[slot] + tables_.place_in_bucket(first + i, slot) - memory_.own_before[slot];
      tables_.own_rows[row] = narrow(i);
      tables_.own_listed[listed] = narrow(row);
    }
  }
  __device__ void order_expert_rows() const {
    for (auto i = static_cast<std::int32_t>(threadIdx.x); i < tables_.shape.ranks * tables_.choices;
         i += kPlanBlockThreads) {
      std::int32_t const slot = tables_.slots[i];
      if (slot < 0 || !tables_.is_local(slot)) continue;
      Choice const at = choice_at(i);
      std::int32_t const row = memory_.first_arrived[slot] + tables_.place_in_bucket(i, slot);
      tables_.expert_rows[row] = narrow(i);
      std::int32_t const listed =
          memory_.before_token[at.token].locals() + place_in_token(i - at.column, at.column, slot);
      tables_.expert_listed[listed] = narrow(row);
    }
  }
  /// As hd::plan_choice() for local keys. @param first the token's first choice
  [[nodiscard]] __device__ std::int32_t place_in_token(std::int32_t first, std::int32_t column,
                                                       std::int32_t slot) const {
    std::int32_t place = 0;
#pragma unroll 4
    for (std::int32_t other = 0; other < tables_.shape.columns; ++other) {
      std::int32_t const beside = tables_.slots[first + other];
      bool const is_before = beside < slot || (beside == slot && other < column);
      if (is_before && tables_.is_local(beside)) ++place;
    }
    return place;
  }

  __device__ void write_rows() const {
    for (auto row = static_cast<std::int32_t>(threadIdx.x); row < memory_.all.kept(); row += kPlanBlockThreads) {
      Choice const at = choice_at(tables_.own_rows[row]);
      own_sort_.row_input[row] = at.token;
      own_sort_.row_column[row] = at.column;
      own_sort_.input_rows[row] = tables_.own_listed[row];
    }
  }
  template <typename Also>
  __device__ void write_expert_rows(Also const& also) const {
    std::int32_t const all = memory_.all.locals();
    std::int64_t const count = all < arrival_.max_rows ? all : arrival_.max_rows;
    for (auto i = static_cast<std::int32_t>(threadIdx.x); i < count; i += kPlanBlockThreads) {
      Choice const at = choice_at(tables_.expert_rows[i]);
      arrival_.row_input[i] = memory_.before_token[at.token].received();
      arrival_.row_column[i] = at.column;
      std::int32_t const row = tables_.expert_listed[i];
      arrival_.input_rows[i] = row;
      also(i, row, choice_at(tables_.expert_rows[row]).column);
    }
  }

  /// Rows of the thread's slot, and of every source for a local one.
  __device__ void write_slot(std::int32_t slot, PlanSlotRows const& rows) const {
    if (slot >= tables_.shape.slots) return;
    finish_.rows_per_slot[slot] = rows.own;
    if (!tables_.is_local(slot)) return;
    std::int32_t const local = slot - finish_.first_slot;
    finish_.tokens_per_local[local] = rows.arrived;
    for (std::int32_t source = 0; source < tables_.shape.ranks; ++source) {
      std::int32_t const next = (source + 1) * tables_.warps;
      std::uint32_t const end = next < kPlanBlockWarps ? tables_.counts[next * tables_.pitch + slot] : rows.arrived;
      finish_.chunk_sizes[static_cast<std::int64_t>(finish_.chunk_of[source]) * finish_.num_local + local] =
          end - tables_.counts[source * tables_.warps * tables_.pitch + slot];
    }
  }

  /// Rows to ranks, and where a token's rows begin in every list.
  __device__ void write_token(std::int32_t thread) const {
    if (thread >= tables_.shape.ranks * tables_.shape.tokens) return;
    auto const [source, token] = tables_.token_of(thread);
    TokenSums const before = memory_.before_token[thread];
    if (tables_.is_received(source, token)) arrival_.input_begin[before.received()] = before.locals();
    if (source != finish_.rank || token >= memory_.tokens[source]) return;
    own_sort_.input_begin[token] = before.kept();
    sent_sort_.input_begin[token] = before.ranks();
    std::int32_t listed = before.ranks();
    for (std::int32_t rank = 0; rank < tables_.shape.ranks; ++rank) {
      if (!tables_.is_sent(rank, token)) continue;
      std::int32_t const row = memory_.sent_start[rank] + tables_.place_in_sent(rank, token);
      sent_sort_.row_input[row] = token;
      sent_sort_.input_rows[listed++] = row;
    }
  }

  /// Splits of both exchanges.
  __device__ void write_counts(std::int32_t peer) const {
    if (peer >= tables_.shape.ranks) return;
    std::int64_t const arrived = memory_.arrived_start[peer + 1] - memory_.arrived_start[peer];
    std::int32_t const begin = finish_.first_slot_of[peer];
    std::int32_t const end = finish_.first_slot_of[peer + 1];
    std::int64_t const gathered = peer == finish_.rank ? memory_.all.locals() : 0;
    finish_.arrived[peer] = arrived;
    finish_.lane_send[peer] = memory_.first_own[end] - memory_.first_own[begin];
    finish_.lane_receive[peer] = arrived;
    finish_.tp_receive[peer] = gathered;
    if (peer == finish_.rank) *finish_.tp_own = gathered;
    finish_.rank_send[peer] = memory_.sent_start[peer + 1] - memory_.sent_start[peer];
    finish_.rank_receive[peer] = memory_.received_start[peer + 1] - memory_.received_start[peer];
    finish_.tokens_of_rank[peer] = memory_.tokens[peer];
  }

  /// One thread: the numbers that lengths follow from, the last entry of every list of offsets, whether all fits.
  __device__ void write_numbers() const {
    std::int64_t* const numbers = finish_.numbers;
    std::int32_t const tokens = memory_.tokens[finish_.rank];
    TokenSums const all = memory_.all;
    numbers[kPlanTokens] = tokens;
    numbers[kPlanRows] = all.kept();
    numbers[kPlanSentRows] = all.ranks();
    numbers[kPlanInputs] = all.received();
    numbers[kPlanExpertRows] = all.locals();
    own_sort_.input_begin[tokens] = all.kept();
    sent_sort_.input_begin[tokens] = all.ranks();
    arrival_.input_begin[all.received()] = all.locals();
    if (all.locals() > finish_.max_expert_rows)
      raise_plan_error(finish_.error, PlanError::overflow, static_cast<std::uint64_t>(all.locals()));
    memory_.error = atomicMax(finish_.error, 0ULL);
    finish_.error[1] = memory_.error;
  }

  PlanBlockTables const& tables_;
  PlanBlockMemory& memory_;
  PlanSort const& own_sort_;
  PlanSort const& sent_sort_;
  PlanSort const& arrival_;
  PlanFinish const& finish_;
};

}  // namespace switchyard::cuda
