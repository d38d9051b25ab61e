// SPDX-License-Identifier: Apache-2.0
// The losses as far as single tokens go, a warp per token: scores, log-sum-exps, gradients at the logits.
#include "dtype_switch.cuh"
#include "router_loss_kernels.hpp"
#include "router_rows.cuh"

namespace switchyard::cuda {

namespace {

__device__ bool is_kept(std::uint8_t const* mask, std::int64_t token) {
  return mask == nullptr || mask[token] != 0;
}

/// Stores a row that the warp has in shared memory, or zeros.
__device__ void store_row(float const* row, bool is_good, std::int32_t experts, std::int64_t token, float* out) {
  WarpCrew{}.each(experts, [=](std::int64_t e) { out[token * experts + e] = is_good ? row[e] : 0.0F; });
}

template <typename T>
__global__ void loss_scores_kernel(LossScoresParams params) {
  float* const row = warp_memory(params.experts);
  for (std::int64_t token = first_token(); token < params.logits.tokens; token += token_stride()) {
    bool const is_good = read_logits<T>(params.logits, params.experts, token, row);
    if (is_good) hd::loss_score_row(WarpCrew{}, params.function, row, params.experts, row);
    store_row(row, is_good, params.experts, token, params.scores);
  }
}

/// Writes the gradient at a token's scores. @return whether all counts make sense
__device__ bool score_gradients(BalanceGradientParams const& params, std::int64_t const* counts, float* d_scores) {
  std::uint32_t const negative = smallest_code(params.experts, [=](std::int32_t e) {
    d_scores[e] = hd::scaled_term(params.factor, static_cast<float>(counts[e]), params.loss_scale);
    return counts[e] < 0 ? static_cast<std::uint32_t>(e) : kNoCode;
  });
  __syncwarp();
  if (negative != kNoCode) raise_router_fault(params.logits.fault, RouterFault::count, negative);
  return negative == kNoCode;
}

template <typename T>
__global__ void balance_gradient_kernel(BalanceGradientParams params) {
  std::int32_t const experts = params.experts;
  float* const logits = warp_memory(kLossRows * experts);
  float* const scores = logits + experts;
  for (std::int64_t token = first_token(); token < params.logits.tokens; token += token_stride()) {
    // The gradient at the scores lies where the result goes: an element's own lane reads and writes both.
    float* const out = params.d_logits + token * experts;
    std::int64_t const* const counts = params.counts + token % params.sequences * experts;
    bool const is_good = is_kept(params.mask, token) && read_logits<T>(params.logits, experts, token, logits) &&
                         score_gradients(params, counts, out);
    if (is_good)
      hd::loss_score_gradient(WarpCrew{}, params.function, logits, out, experts, scores, out);
    else
      store_row(nullptr, false, experts, token, params.d_logits);
  }
}

template <typename T>
__global__ void log_sums_kernel(LogSumsParams params) {
  float* const row = warp_memory(params.experts);
  for (std::int64_t token = first_token(); token < params.logits.tokens; token += token_stride()) {
    float sum = 0.0F;
    if (is_kept(params.mask, token) && read_logits<T>(params.logits, params.experts, token, row)) {
      sum = hd::log_sum_exp(WarpCrew{}, row, params.experts);
      if (!hd::is_finite_f32(sum)) {
        raise_router_fault(params.logits.fault, RouterFault::log_sum,
                           static_cast<std::uint64_t>(token) * 2 + (sum < 0.0F ? 1 : 0));
        sum = 0.0F;
      }
    }
    WarpCrew{}.each(1, [=](std::int64_t) { params.sums[token] = sum; });
  }
}

template <typename T>
__global__ void z_gradient_kernel(ZGradientParams params) {
  float* const row = warp_memory(params.experts);
  auto const factor = static_cast<float>(hd::divide_factor(params.numerator, *params.unmasked));
  for (std::int64_t token = first_token(); token < params.logits.tokens; token += token_stride()) {
    bool is_good = is_kept(params.mask, token) && read_logits<T>(params.logits, params.experts, token, row);
    if (is_good) {
      float const sum = hd::log_sum_exp(WarpCrew{}, row, params.experts);
      is_good = hd::is_finite_f32(sum);
      if (is_good)
        hd::z_loss_gradient(WarpCrew{}, row, params.experts, hd::scaled_term(factor, sum, params.loss_scale), row);
      else
        raise_router_fault(params.logits.fault, RouterFault::log_sum,
                           static_cast<std::uint64_t>(token) * 2 + (sum < 0.0F ? 1 : 0));
    }
    store_row(row, is_good, params.experts, token, params.d_logits);
  }
}

std::int64_t row_bytes(std::int32_t experts, std::int64_t rows) {
  return rows * experts * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace

std::int64_t prepare_loss_kernels() {
  int const bytes = shared_bytes_of_device();
  for (DType const dtype : {DType::f32, DType::bf16, DType::f16})
    by_row_dtype(dtype, [&](auto row) {
      using T = decltype(row);
      allow_shared_memory(&loss_scores_kernel<T>, bytes);
      allow_shared_memory(&balance_gradient_kernel<T>, bytes);
      allow_shared_memory(&log_sums_kernel<T>, bytes);
      allow_shared_memory(&z_gradient_kernel<T>, bytes);
    });
  return bytes;
}

void launch_loss_scores(LossScoresParams const& params, StreamView stream) {
  by_row_dtype(params.logits.dtype, [&](auto row) {
    launch_rows("loss_scores_kernel", &loss_scores_kernel<decltype(row)>, params, row_bytes(params.experts, 1), stream);
  });
}

void launch_balance_gradient(BalanceGradientParams const& params, StreamView stream) {
  by_row_dtype(params.logits.dtype, [&](auto row) {
    launch_rows("balance_gradient_kernel", &balance_gradient_kernel<decltype(row)>, params,
                row_bytes(params.experts, kLossRows), stream);
  });
}

void launch_log_sums(LogSumsParams const& params, StreamView stream) {
  by_row_dtype(params.logits.dtype, [&](auto row) {
    launch_rows("log_sums_kernel", &log_sums_kernel<decltype(row)>, params, row_bytes(params.experts, 1), stream);
  });
}

void launch_z_gradient(ZGradientParams const& params, StreamView stream) {
  by_row_dtype(params.logits.dtype, [&](auto row) {
    launch_rows("z_gradient_kernel", &z_gradient_kernel<decltype(row)>, params, row_bytes(params.experts, 1), stream);
  });
}

}  // namespace switchyard::cuda
