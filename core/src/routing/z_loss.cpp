// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "loss_rows.hpp"
#include "switchyard/hd/softmax.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

/// log sum exp of every token, 0 for masked ones.
std::vector<float> log_sums(routing::LogitRows& rows, TokenMask mask) {
  std::vector<float> sums(to_size(rows.num_tokens()));
  for (std::int64_t token = 0; token < rows.num_tokens(); ++token) {
    if (routing::is_masked(mask, token)) continue;
    float const value = hd::log_sum_exp(rows.row(token), rows.num_experts());
    SWITCHYARD_REQUIRE(std::isfinite(value), invalid_argument,
                       "log sum exp of token {} is {}: a z loss needs at least one finite logit per token", token,
                       value);
    sums[to_size(token)] = value;
  }
  return sums;
}

std::int64_t unmasked(TokenMask mask, std::int64_t num_tokens) {
  if (mask.empty()) return num_tokens;
  std::int64_t count = 0;
  for (std::uint8_t const kept : mask) count += kept != 0 ? 1 : 0;
  return count;
}

}  // namespace

float z_loss(double coefficient, ConstTensorView logits, TokenMask mask) {
  routing::LogitRows rows(logits, hd::LogitRules{});
  routing::require_mask(mask, rows.num_tokens());
  std::vector<float> const sums = log_sums(rows, mask);
  float const squares = hd::lane32_sum(rows.num_tokens(), hd::Products{sums.data(), sums.data()});
  return hd::canonical(hd::mul_rn(routing::loss_factor(coefficient, {unmasked(mask, rows.num_tokens())}), squares));
}

std::vector<float> z_loss_backward(double coefficient, ConstTensorView logits, float loss_scale, TokenMask mask) {
  routing::LogitRows rows(logits, hd::LogitRules{});
  routing::require_mask(mask, rows.num_tokens());
  std::vector<float> const sums = log_sums(rows, mask);
  float const factor = routing::loss_factor(hd::mul_rn(2.0, coefficient), {unmasked(mask, rows.num_tokens())});
  std::size_t const experts = to_size(rows.num_experts());
  std::vector<float> d_logits(to_size(checked_mul(rows.num_tokens(), rows.num_experts())));
  for (std::int64_t token = 0; token < rows.num_tokens(); ++token) {
    if (routing::is_masked(mask, token)) continue;
    float* const out = &d_logits[to_size(token) * experts];
    float const gradient = hd::mul_rn(hd::mul_rn(factor, sums[to_size(token)]), loss_scale);
    hd::softmax(rows.row(token), rows.num_experts(), out);
    for (std::size_t e = 0; e < experts; ++e) out[e] = hd::mul_rn(gradient, out[e]);
  }
  return d_logits;
}

}  // namespace switchyard
