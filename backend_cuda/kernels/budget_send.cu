// SPDX-License-Identifier: Apache-2.0
// Before an exchange of slots: this rank's words, and what stands at every place of the slots to send. Places behind a
// peer's rows keep what they hold.
#include "budget_agreement.cuh"
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "switchyard/cuda/rows.hpp"

namespace switchyard::cuda {

namespace {

/// A place of the slots to send.
struct Place {
  __device__ Place(BudgetExchange const& exchange, std::int64_t index)
      : rank(exchange.lanes.rank_of(index / exchange.slot_rows)), row(index % exchange.slot_rows) {}
  std::int32_t rank;
  std::int64_t row;
};

__global__ void send_tokens_kernel(BudgetExchange exchange, std::int64_t const* token_of_row, std::int32_t* map) {
  __shared__ std::int32_t starts[kMostBudgetRanks + 1];
  if (blockIdx.x == 0) say_words(exchange);
  if (threadIdx.x < kWarp) sum_blocks(exchange.sent, exchange.world, starts);
  __syncthreads();
  for (std::int64_t i = first_item(); i < exchange.world * exchange.slot_rows; i += item_stride()) {
    Place const place(exchange, i);
    bool const is_row = place.row < exchange.sent[place.rank];
    map[i] = static_cast<std::int32_t>(is_row ? token_of_row[starts[place.rank] + place.row] : kSkippedRow);
  }
}

__global__ void send_singles_kernel(BudgetExchange exchange, BudgetChunks chunks, std::int32_t* map,
                                    std::int32_t* experts) {
  if (blockIdx.x == 0) say_words(exchange);
  bool const is_sound = exchange.state->lists_overflow == 0;
  std::int64_t const lane_places = exchange.lanes.ep * exchange.slot_rows;
  std::int64_t const own_lane = exchange.rank % exchange.lanes.tp * lane_places;
  for (std::int64_t i = first_item(); i < exchange.world * exchange.slot_rows; i += item_stride()) {
    Place const place(exchange, i);
    std::int64_t const* const begin =
        chunks.slot_begin + static_cast<std::int64_t>(place.rank) * (chunks.num_local + 1);
    std::int64_t row = kSkippedRow;
    std::int32_t local = 0;
    if (is_sound && place.row < begin[chunks.num_local]) {
      local = block_of(begin, chunks.num_local, place.row);
      std::int64_t const chunk = static_cast<std::int64_t>(local) * exchange.world + chunks.position_of[place.rank];
      row = expert_row(exchange, chunks, local, chunks.row_begin[chunk] + place.row - begin[local]);
    }
    map[i] = static_cast<std::int32_t>(row);
    if (experts != nullptr && i >= own_lane && i < own_lane + lane_places) experts[i - own_lane] = local;
  }
}

__global__ void row_experts_kernel(BudgetChunks chunks, std::int32_t world, std::int64_t first_row, std::int64_t rows,
                                   std::int32_t* experts) {
  std::int32_t const count = chunks.num_local * world;
  for (std::int64_t i = first_item(); i < rows; i += item_stride()) {
    bool const is_row = first_row + i < chunks.row_begin[count];
    experts[i] = is_row ? block_of(chunks.row_begin, count, first_row + i) / world : 0;
  }
}

__global__ void send_partials_kernel(BudgetExchange exchange, DeviceGather expansion, std::int64_t* begin) {
  __shared__ std::int32_t starts[kMostBudgetRanks + 1];
  if (blockIdx.x == 0) say_words(exchange);
  if (threadIdx.x < kWarp) sum_blocks(exchange.sent, exchange.world, starts);
  __syncthreads();
  BudgetState const& state = *exchange.state;
  // After an error no weights have come.
  bool const is_sound = state.lists_overflow == 0 && state.error == 0 && state.local_error == 0;
  std::int64_t const places = exchange.world * exchange.slot_rows;
  for (std::int64_t i = first_item(); i <= places; i += item_stride()) {
    Place const place(exchange, i == places ? 0 : i);
    std::int64_t const last = exchange.sent[place.rank];
    std::int64_t const row = starts[place.rank] + (place.row < last ? place.row : last);
    begin[i] = is_sound ? expansion.row_begin[i == places ? starts[exchange.world] : row] : 0;
  }
}

}  // namespace

void launch_budget_send_tokens(BudgetExchange const& exchange, std::int64_t const* token_of_row, std::int32_t* map,
                               StreamView stream) {
  unsigned const blocks = grid_blocks(exchange.world * exchange.slot_rows);
  send_tokens_kernel<<<blocks, kBlockThreads, 0, stream.handle()>>>(exchange, token_of_row, map);
  check_launch("send_tokens_kernel");
}

void launch_budget_send_singles(BudgetExchange const& exchange, BudgetChunks const& chunks, std::int32_t* map,
                                std::int32_t* experts, StreamView stream) {
  unsigned const blocks = grid_blocks(exchange.world * exchange.slot_rows);
  send_singles_kernel<<<blocks, kBlockThreads, 0, stream.handle()>>>(exchange, chunks, map, experts);
  check_launch("send_singles_kernel");
}

void launch_budget_row_experts(BudgetChunks const& chunks, std::int32_t world, std::int64_t first_row,
                               std::int64_t rows, std::int32_t* experts, StreamView stream) {
  if (rows <= 0) return;
  row_experts_kernel<<<grid_blocks(rows), kBlockThreads, 0, stream.handle()>>>(chunks, world, first_row, rows, experts);
  check_launch("row_experts_kernel");
}

void launch_budget_send_partials(BudgetExchange const& exchange, DeviceGather const& expansion, std::int64_t* begin,
                                 StreamView stream) {
  unsigned const blocks = grid_blocks(exchange.world * exchange.slot_rows + 1);
  send_partials_kernel<<<blocks, kBlockThreads, 0, stream.handle()>>>(exchange, expansion, begin);
  check_launch("send_partials_kernel");
}

}  // namespace switchyard::cuda
