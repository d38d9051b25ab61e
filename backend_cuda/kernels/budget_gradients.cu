// SPDX-License-Identifier: Apache-2.0
// The way of gradients over slots: every choice of a token finds its row among what came home, and the place from which
// its gradient leaves.
#include "budget_agreement.cuh"
#include "cuda_error.hpp"
#include "grid_stride.cuh"

namespace switchyard::cuda {

namespace {

__global__ void budget_say_kernel(BudgetExchange exchange) {
  say_words(exchange);
}

/// One thread per token.
__global__ void budget_choices_kernel(BudgetChoicesParams params) {
  __shared__ std::int32_t starts[kMostBudgetRanks + 1];
  BudgetExchange const& exchange = params.exchange;
  if (threadIdx.x < kWarp) sum_blocks(exchange.received, exchange.world, starts);
  bool const is_sound = may_use_rows(exchange);
  for (std::int64_t token = first_item(); token < params.tokens; token += item_stride()) {
    for (std::int64_t choice = token * params.columns; choice < (token + 1) * params.columns; ++choice)
      params.arrived[choice] = params.sent[choice] = -1;
    if (!is_sound || token >= *params.planned) continue;
    for (std::int64_t i = params.rows.row_begin[token]; i < params.rows.row_begin[token + 1]; ++i) {
      std::int64_t const row = params.rows.rows_of_token[i];
      std::int64_t const choice = token * params.columns + params.rows.slot_of_row[row];
      std::int32_t const peer = block_of(starts, exchange.world, row);
      params.arrived[choice] = row_received(exchange, peer, row - starts[peer]);
      params.sent[choice] = row_sent(exchange, peer, row - starts[peer]);
    }
  }
}

}  // namespace

void launch_budget_say(BudgetExchange const& exchange, StreamView stream) {
  budget_say_kernel<<<1, kBlockThreads, 0, stream.handle()>>>(exchange);
  check_launch("budget_say_kernel");
}

void launch_budget_choices(BudgetChoicesParams const& params, StreamView stream) {
  budget_choices_kernel<<<grid_blocks(params.tokens + 1), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("budget_choices_kernel");
}

}  // namespace switchyard::cuda
