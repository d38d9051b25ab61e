// SPDX-License-Identifier: Apache-2.0
/// The kernels of the router's losses. Device memory throughout.
#pragma once

#include <cstdint>

#include "router_kernels.hpp"
#include "switchyard/hd/router_loss.hpp"

namespace switchyard::cuda {

/// Rows of experts that a warp holds in shared memory, for the longest of the kernels below.
inline constexpr std::int64_t kLossRows = 2;

struct LossScoresParams {
  RouterLogits logits;
  ScoreFunction function;
  std::int32_t experts;
  float* scores;  ///< [tokens, experts]
};
void launch_loss_scores(LossScoresParams const& params, StreamView stream);

/// Token t belongs to sequence t % sequences, which has its own counts.
struct BalanceGradientParams {
  RouterLogits logits;
  ScoreFunction function;
  std::int32_t experts;
  float factor;
  float loss_scale;
  std::int64_t const* counts;  ///< [sequences, experts]
  std::int64_t sequences;
  std::uint8_t const* mask;  ///< [tokens] or null
  float* d_logits;           ///< [tokens, experts]
};
void launch_balance_gradient(BalanceGradientParams const& params, StreamView stream);

struct LogSumsParams {
  RouterLogits logits;
  std::int32_t experts;
  std::uint8_t const* mask;
  float* sums;  ///< [tokens] log-sum-exp, 0 for masked tokens
};
void launch_log_sums(LogSumsParams const& params, StreamView stream);

struct ZGradientParams {
  RouterLogits logits;
  std::int32_t experts;
  std::uint8_t const* mask;
  double numerator;              ///< of the factor, whose divisor is the number of tokens that are not masked
  std::int64_t const* unmasked;  ///< that number
  float loss_scale;
  float* d_logits;
};
void launch_z_gradient(ZGradientParams const& params, StreamView stream);

struct CountParams {
  std::int32_t const* ids;  ///< [tokens, top_k]
  std::int64_t tokens;
  std::int32_t top_k;
  std::int32_t experts;
  std::int64_t sequences;
  std::int64_t* counts;  ///< [sequences, experts], zeros
  unsigned long long* fault;
};
void launch_count(CountParams const& params, StreamView stream);

struct BalanceSumParams {
  float const* scores;  ///< [tokens, experts]
  std::int64_t tokens;
  std::int32_t experts;
  std::int64_t sequences;
  std::uint8_t const* mask;
  std::int64_t const* counts;  ///< [sequences, experts]
  float factor;
  bool averages;       ///< the result is the mean over sequences; otherwise there is one
  float* column_sums;  ///< [sequences, experts] scratch
  float* losses;       ///< [sequences] scratch
  float* result;
  unsigned long long* fault;
};
void launch_balance_sum(BalanceSumParams const& params, StreamView stream);

/// @param unmasked out: how many of the tokens are not masked
void launch_count_unmasked(std::uint8_t const* mask, std::int64_t tokens, std::int64_t* unmasked, StreamView stream);
/// result = the z loss of the log-sum-exps of all tokens.
void launch_z_sum(float const* sums, std::int64_t tokens, double coefficient, std::int64_t const* unmasked,
                  float* result, StreamView stream);

void launch_update_bias(float* bias, std::int64_t const* counts, std::int32_t experts, float rate,
                        unsigned long long* fault, StreamView stream);

/// Loads all of them. @return bytes of shared memory that a block may have
[[nodiscard]] std::int64_t prepare_loss_kernels();
void prepare_sum_kernels();

}  // namespace switchyard::cuda
