// SPDX-License-Identifier: Apache-2.0
/// Runs hd's router step, its gradient and log-sum-exp, one thread per token, for the comparison with the host only.
#pragma once

#include <cstdint>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/hd/router_gradient.hpp"

namespace cross_backend {

/// All memory of one call, on the host or on the device. Row-major; E = experts, K = top_k, S = group scratch.
struct RouterArrays {
  float const* logits;        ///< [tokens, E]
  float const* bias;          ///< [E] or null
  float const* d_weights;     ///< [tokens, K]
  float* float_scratch;       ///< [tokens, 3 E + 2 K + S]
  std::int32_t* int_scratch;  ///< [tokens, S]
  std::int32_t* ids;          ///< [tokens, K] out
  float* weights;             ///< [tokens, K] out
  float* d_logits;            ///< [tokens, E] out
  float* log_sums;            ///< [tokens] out
};

SWITCHYARD_HD inline std::int64_t group_scratch(switchyard::hd::RouterStep const& step) noexcept {
  return step.scores_per_group + step.group_topk;
}
SWITCHYARD_HD inline std::int64_t float_scratch(switchyard::hd::RouterStep const& step) noexcept {
  return 3 * step.num_experts + 2 * step.top_k + group_scratch(step);
}

/// One token: what a thread does, and what the host does in a loop.
SWITCHYARD_HD inline void probe_token(switchyard::hd::RouterStep const& step, RouterArrays const& arrays,
                                      std::int64_t token) noexcept {
  namespace hd = switchyard::hd;
  std::int64_t const experts = step.num_experts;
  float const* const logits = arrays.logits + token * experts;
  float* const scratch = arrays.float_scratch + token * float_scratch(step);
  std::int32_t* const ids = arrays.ids + token * step.top_k;
  hd::RouterScratch const forward{scratch, scratch + experts, scratch + 3 * experts + 2 * step.top_k,
                                  arrays.int_scratch + token * group_scratch(step)};
  hd::route_token(hd::Alone{}, step, logits, hd::RouterChoice{arrays.bias, nullptr}, forward, ids,
                  arrays.weights + token * step.top_k);
  float* const backward = scratch + 2 * experts;
  hd::RouterGradientScratch const gradient{backward + experts, backward + experts + step.top_k, backward};
  hd::route_token_gradient(hd::Alone{}, step, logits, ids, arrays.d_weights + token * step.top_k, gradient,
                           arrays.d_logits + token * experts);
  arrays.log_sums[token] = hd::log_sum_exp(logits, experts);
}

/// Device memory. @throws Error{cuda} when the launch fails.
void launch_router_probe(switchyard::hd::RouterStep const& step, RouterArrays const& arrays, std::int64_t num_tokens,
                         switchyard::cuda::StreamView stream);

}  // namespace cross_backend
