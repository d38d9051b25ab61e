// SPDX-License-Identifier: Apache-2.0
/// Sinkhorn balancing: scores whose largest entries choose experts evenly.
#pragma once

#include <vector>

#include "switchyard/routing/router.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard {

struct SinkhornOptions {
  float tolerance = 1e-4F;  ///< stop when the mean absolute change of the experts' factors is at most this
  /// Megatron has no bound. Many tokens converge in tens of iterations; a few tokens with widely spread logits crawl
  /// through some 10^5, because the 1e-8 in the divisors moves the factors a little each time.
  int max_iterations = 1000000;
};

struct SinkhornResult {
  std::vector<float> balanced;  ///< [tokens * experts]
  int iterations = 0;
  bool converged = false;  ///< false: the bound stopped the loop; `balanced` is the last iterate
};

/// c = e^logit, d1 = 1; repeat d0[t] = 1/(sum_e d1[e]*c + 1e-8) * (1/T), d1[e] = 1/(sum_t d0[t]*c + 1e-8) * (1/E) until
/// mean |change of d1| <= tolerance; balanced = (d1 * c) * d0. Every sum in lane32 order, 1/T and 1/E rounded once.
/// @param logits [tokens, experts] f32, bf16 or f16, contiguous, host. Megatron does not subtract a maximum, so logits
/// from 88.73 up overflow: they are refused, as are NaN and sums that overflow.
/// @throws Error{invalid_argument} naming the value, also for a tolerance that is negative or NaN or max_iterations
/// < 1.
/// @note No tokens: converged, no iterations. @see Megatron-Core moe_utils.sinkhorn
[[nodiscard]] SinkhornResult sinkhorn(ConstTensorView logits, SinkhornOptions options = {});

/// Chooses by the balanced scores and weighs by the config's own scores (Megatron: sigmoid for top-1, softmax_pre
/// otherwise). @throws Error{invalid_argument} also when Sinkhorn did not converge.
[[nodiscard]] RoutingMap route_sinkhorn(RouterConfig const& config, ConstTensorView logits,
                                        SinkhornOptions options = {});

}  // namespace switchyard
