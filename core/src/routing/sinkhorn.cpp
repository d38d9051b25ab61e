// SPDX-License-Identifier: Apache-2.0
#include "switchyard/routing/sinkhorn.hpp"

#include <cmath>
#include <cstdint>
#include <span>

#include "router_rows.hpp"
#include "switchyard/hd/router_loss.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"
#include "token_totals.hpp"

namespace switchyard {
namespace {

/// e^logit of all tokens.
std::vector<float> exponentials(routing::LogitRows& rows) {
  std::size_t const experts = to_size(rows.num_experts());
  std::vector<float> cost(to_size(checked_mul(rows.num_tokens(), rows.num_experts())));
  for (std::int64_t token = 0; token < rows.num_tokens(); ++token) {
    float const* const row = rows.row(token);
    float* const out = &cost[to_size(token) * experts];
    for (std::size_t e = 0; e < experts; ++e) out[e] = hd::exp(row[e]);
    for (std::size_t e = 0; e < experts; ++e)
      SWITCHYARD_REQUIRE(std::isfinite(out[e]), invalid_argument,
                         "Sinkhorn: e^logit of token {}, expert {} overflows (logit {}): subtract a maximum first",
                         token, e, row[e]);
  }
  return cost;
}

/// The two factors of the balanced matrix, one per token and one per expert.
class Factors {
 public:
  Factors(std::span<float const> cost, std::int64_t num_tokens, std::int64_t num_experts)
      : cost_(cost),
        num_tokens_(num_tokens),
        num_experts_(num_experts),
        of_token_(to_size(num_tokens)),
        of_expert_(to_size(num_experts), 1.0F),
        change_(to_size(num_experts)) {}

  /// One iteration. @return the mean absolute change of the experts' factors
  float step() {
    for (std::int64_t token = 0; token < num_tokens_; ++token) {
      hd::Products const products{of_expert_.data(), &cost_[to_size(token * num_experts_)]};
      of_token_[to_size(token)] = hd::sinkhorn_factor(hd::lane32_sum(num_experts_, products), num_tokens_);
    }
    std::vector<float> const sums =
        routing::column_sums(cost_, num_experts_, routing::every_token(num_tokens_), {}, of_token_);
    for (std::size_t e = 0; e < sums.size(); ++e) {
      float const updated = hd::sinkhorn_factor(sums[e], num_experts_);
      change_[e] = std::fabs(hd::sub_rn(of_expert_[e], updated));
      of_expert_[e] = updated;
    }
    float const total = hd::lane32_sum(num_experts_, hd::Elements{change_.data()});
    return hd::div_rn(total, static_cast<float>(num_experts_));
  }

  [[nodiscard]] std::vector<float> balanced() const {
    std::vector<float> out(cost_.size());
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = hd::sinkhorn_value(of_expert_[i % of_expert_.size()], cost_[i], of_token_[i / of_expert_.size()]);
    return out;
  }

 private:
  std::span<float const> cost_;
  std::int64_t num_tokens_;
  std::int64_t num_experts_;
  std::vector<float> of_token_;
  std::vector<float> of_expert_;
  std::vector<float> change_;
};

}  // namespace

SinkhornResult sinkhorn(ConstTensorView logits, SinkhornOptions options) {
  internal::require_sinkhorn(options);
  routing::LogitRows rows(logits, hd::LogitRules{});
  SinkhornResult result;
  result.converged = rows.num_tokens() == 0;
  if (result.converged) return result;
  std::vector<float> const cost = exponentials(rows);
  Factors factors(cost, rows.num_tokens(), rows.num_experts());
  while (!result.converged && result.iterations < options.max_iterations) {
    float const change = factors.step();
    ++result.iterations;
    if (!std::isfinite(change)) internal::throw_sinkhorn_overflow(result.iterations);
    result.converged = change <= options.tolerance;
  }
  result.balanced = factors.balanced();
  return result;
}

RoutingMap route_sinkhorn(RouterConfig const& config, ConstTensorView logits, SinkhornOptions options) {
  SinkhornResult const result = sinkhorn(logits, options);
  if (!result.converged) internal::throw_sinkhorn_bound(options.tolerance, options.max_iterations);
  return route_by(config, logits, result.balanced);
}

}  // namespace switchyard
