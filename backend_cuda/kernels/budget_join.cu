// SPDX-License-Identifier: Apache-2.0
// Behind an exchange of slots back to the tokens: the verdict, and which rows every token adds, in its recipe's order.
#include "budget_agreement.cuh"
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "read_weight.cuh"

namespace switchyard::cuda {

namespace {

/// The terms of one token as the plan lists them.
struct TokenTerms {
  __device__ TokenTerms(BudgetJoinParams const& params, std::int64_t number)
      : token(number),
        begin(params.rows.row_begin[number < *params.planned ? number : *params.planned]),
        end(params.rows.row_begin[number < *params.planned ? number + 1 : *params.planned]) {}
  std::int64_t token;
  std::int64_t begin;
  std::int64_t end;
};

__device__ std::int64_t flat_choice(BudgetJoinParams const& params, TokenTerms const& terms, std::int64_t term) {
  return terms.token * params.columns + params.rows.slot_of_row[params.rows.rows_of_token[term]];
}

/// Rows are sorted by slot, and slots by rank.
__device__ std::int64_t place_by_row(BudgetJoinParams const& params, TokenTerms const& terms, std::int64_t term) {
  std::int64_t const row = params.rows.rows_of_token[term];
  std::int64_t place = terms.begin;
  for (std::int64_t other = terms.begin; other < terms.end; ++other)
    if (params.rows.rows_of_token[other] < row) ++place;
  return place;
}

/// Where a term stands in its token's sum.
__device__ std::int64_t place_of_term(BudgetJoinParams const& params, TokenTerms const& terms, std::int64_t term) {
  if (params.by_row) return place_by_row(params, terms, term);
  if (params.experts == nullptr) return term;
  std::int32_t const expert = params.experts[flat_choice(params, terms, term)];
  std::int64_t place = terms.begin;
  for (std::int64_t other = terms.begin; other < terms.end; ++other) {
    std::int32_t const named = params.experts[flat_choice(params, terms, other)];
    if (named < expert || (named == expert && other < term)) ++place;
  }
  return place;
}

__global__ void budget_join_kernel(BudgetJoinParams params) {
  __shared__ std::int32_t starts[kMostBudgetRanks + 1];
  BudgetExchange const& exchange = params.exchange;
  if (threadIdx.x < kWarp) sum_blocks(exchange.received, exchange.world, starts);
  bool const is_sound = may_use_rows(exchange);
  for (std::int64_t token = first_item(); token <= params.tokens; token += item_stride()) {
    TokenTerms const terms(params, token);
    params.begin[token] = is_sound ? terms.begin : 0;
    for (std::int64_t term = terms.begin; is_sound && term < terms.end; ++term) {
      std::int64_t const row = params.rows.rows_of_token[term];
      std::int32_t const from = block_of(starts, exchange.world, row);
      std::int64_t const place = place_of_term(params, terms, term);
      bool const has_come = (from - exchange.rank) % params.lane_tp == 0;
      params.terms[place] = has_come ? row_received(exchange, from, row - starts[from]) : -1;
      if (params.weights != nullptr)
        copy_weight(params.weights, params.weights_f64, flat_choice(params, terms, term), params.term_weights,
                    params.output_f64, place);
    }
  }
}

/// One thread per token.
__global__ void budget_rank_sums_kernel(BudgetRankSumsParams params) {
  for (std::int64_t token = first_item(); token <= params.tokens; token += item_stride()) {
    std::int64_t sum = token * params.ranks_of_token;
    if (token == params.tokens) {
      params.rank_begin[sum] = params.join_begin[token];
      continue;
    }
    std::int64_t const end = params.join_begin[token + 1];
    std::int64_t last_slot = -1;
    for (std::int64_t term = params.join_begin[token]; term < end; ++term) {
      std::int64_t const slot = params.join_terms[term] / params.slot_rows;
      if (slot == last_slot) continue;
      last_slot = slot;
      params.rank_begin[sum] = term;
      params.rank_terms[sum] = sum;
      ++sum;
    }
    for (; sum < (token + 1) * params.ranks_of_token; ++sum) {
      params.rank_begin[sum] = end;
      params.rank_terms[sum] = -1;
    }
  }
}

__global__ void budget_watch_kernel(BudgetWatchParams params) {
  std::int64_t const rows = *params.num_rows < params.max_rows ? *params.num_rows : params.max_rows;
  for (std::int64_t row = first_item(); row < rows; row += item_stride()) {
    std::int64_t const index = params.rows.token_of_row[row] * params.columns + params.rows.slot_of_row[row];
    double const weight = read_weight(params.weights, params.weights_f64, index);
    if (weight != weight) atomicMin(params.first_nan, static_cast<unsigned long long>(index));
  }
}

}  // namespace

void launch_budget_join(BudgetJoinParams const& params, StreamView stream) {
  budget_join_kernel<<<grid_blocks(params.tokens + 1), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("budget_join_kernel");
}

void launch_budget_rank_sums(BudgetRankSumsParams const& params, StreamView stream) {
  budget_rank_sums_kernel<<<grid_blocks(params.tokens + 1), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("budget_rank_sums_kernel");
}

void launch_budget_watch(BudgetWatchParams const& params, StreamView stream) {
  if (params.max_rows <= 0) return;
  budget_watch_kernel<<<grid_blocks(params.max_rows), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("budget_watch_kernel");
}

}  // namespace switchyard::cuda
