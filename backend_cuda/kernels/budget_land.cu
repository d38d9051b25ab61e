// SPDX-License-Identifier: Apache-2.0
// Behind an exchange of slots towards the experts: the verdict, and where expert rows and their weights stand.
#include "budget_agreement.cuh"
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "read_weight.cuh"
#include "switchyard/cuda/rows.hpp"

namespace switchyard::cuda {

namespace {

__global__ void land_carried_kernel(BudgetExchange exchange, DevicePlanLists lists, std::int64_t max_rows,
                                    std::int32_t* map) {
  __shared__ std::int32_t starts[kMostBudgetRanks + 1];
  if (threadIdx.x < kWarp) sum_blocks(exchange.received, exchange.world, starts);
  bool const is_sound = may_use_rows(exchange);
  std::int64_t const rows = is_sound ? lists.numbers->expert_rows : 0;
  for (std::int64_t i = first_item(); i < max_rows; i += item_stride()) {
    std::int64_t source = is_sound ? kSkippedRow : kZeroRow;
    if (i < rows) {
      std::int64_t const arrived = lists.expansion.token_of_row[i];
      std::int32_t const from = block_of(starts, exchange.world, arrived);
      source = row_received(exchange, from, arrived - starts[from]);
    }
    map[i] = static_cast<std::int32_t>(source);
  }
}

__global__ void land_singles_kernel(BudgetExchange exchange, BudgetChunks chunks, std::int64_t max_rows,
                                    std::int32_t* map) {
  bool const is_sound = may_use_rows(exchange);
  std::int32_t const count = chunks.num_local * exchange.world;
  std::int64_t const* const end =
      chunks.bin_begin == nullptr ? chunks.row_begin + count : chunks.bin_begin + chunks.num_local;
  std::int64_t const rows = is_sound ? *end : 0;
  for (std::int64_t i = first_item(); i < max_rows; i += item_stride()) {
    std::int64_t const sorted = i < rows ? sorted_row(exchange, chunks, i) : kZeroRow;
    std::int64_t source = is_sound && i >= rows ? kSkippedRow : kZeroRow;
    if (sorted != kZeroRow) {
      std::int32_t const chunk = block_of(chunks.row_begin, count, sorted);
      std::int32_t const from = chunks.source_at[chunk % exchange.world];
      std::int64_t const in_slot =
          chunks.slot_begin[static_cast<std::int64_t>(from) * (chunks.num_local + 1) + chunk / exchange.world];
      source = row_received(exchange, from, in_slot + sorted - chunks.row_begin[chunk]);
    }
    map[i] = static_cast<std::int32_t>(source);
  }
}

/// One thread per received row.
__global__ void land_weights_kernel(BudgetWeightsParams params) {
  __shared__ std::int32_t starts[kMostBudgetRanks + 1];
  BudgetExchange const& exchange = params.exchange;
  if (threadIdx.x < kWarp) sum_blocks(exchange.received, exchange.world, starts);
  if (!may_use_rows(exchange)) return;
  for (std::int64_t i = first_item(); i < starts[exchange.world]; i += item_stride()) {
    std::int32_t const from = block_of(starts, exchange.world, i);
    std::int64_t const first = row_received(exchange, from, i - starts[from]) * params.columns;
    for (std::int64_t term = params.expansion.row_begin[i]; term < params.expansion.row_begin[i + 1]; ++term) {
      std::int64_t const column = params.expansion.slot_of_row[params.expansion.rows_of_token[term]];
      copy_weight(params.weights, params.weights_f64, first + column, params.output, params.output_f64, term);
    }
  }
}

}  // namespace

void launch_budget_land_carried(BudgetExchange const& exchange, DevicePlanLists const& lists, std::int64_t max_rows,
                                std::int32_t* map, StreamView stream) {
  unsigned const blocks = grid_blocks(max_rows > 0 ? max_rows : 1);
  land_carried_kernel<<<blocks, kBlockThreads, 0, stream.handle()>>>(exchange, lists, max_rows, map);
  check_launch("land_carried_kernel");
}

void launch_budget_land_singles(BudgetExchange const& exchange, BudgetChunks const& chunks, std::int64_t max_rows,
                                std::int32_t* map, StreamView stream) {
  unsigned const blocks = grid_blocks(max_rows > 0 ? max_rows : 1);
  land_singles_kernel<<<blocks, kBlockThreads, 0, stream.handle()>>>(exchange, chunks, max_rows, map);
  check_launch("land_singles_kernel");
}

void launch_budget_land_weights(BudgetWeightsParams const& params, StreamView stream) {
  unsigned const blocks = grid_blocks(params.max_received > 0 ? params.max_received : 1);
  land_weights_kernel<<<blocks, kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("land_weights_kernel");
}

}  // namespace switchyard::cuda
