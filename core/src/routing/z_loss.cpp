// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "loss_rows.hpp"
#include "switchyard/hd/router_loss.hpp"
#include "switchyard/internal/router_setup.hpp"
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
    if (!std::isfinite(value)) internal::throw_log_sum_fault(token, value);
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
  return hd::loss_value(internal::loss_factor(coefficient, {unmasked(mask, rows.num_tokens())}), squares);
}

std::vector<float> z_loss_backward(double coefficient, ConstTensorView logits, float loss_scale, TokenMask mask) {
  routing::LogitRows rows(logits, hd::LogitRules{});
  routing::require_mask(mask, rows.num_tokens());
  std::vector<float> const sums = log_sums(rows, mask);
  float const factor = internal::loss_factor(hd::mul_rn(2.0, coefficient), {unmasked(mask, rows.num_tokens())});
  std::size_t const experts = to_size(rows.num_experts());
  std::vector<float> d_logits(to_size(checked_mul(rows.num_tokens(), rows.num_experts())));
  for (std::int64_t token = 0; token < rows.num_tokens(); ++token) {
    if (routing::is_masked(mask, token)) continue;
    float* const out = &d_logits[to_size(token) * experts];
    float const gradient = hd::scaled_term(factor, sums[to_size(token)], loss_scale);
    hd::z_loss_gradient(hd::Alone{}, rows.row(token), rows.num_experts(), gradient, out);
  }
  return d_logits;
}

}  // namespace switchyard
