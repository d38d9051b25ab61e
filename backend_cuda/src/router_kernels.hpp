// SPDX-License-Identifier: Apache-2.0
/// The router's kernels: a warp per token over core/hd. Device memory throughout.
#pragma once

#include <cstdint>

#include "router_fault.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/hd/router_lanes.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cuda {

/// What kernels read logits by.
struct RouterLogits {
  void const* data;  ///< [tokens, experts]
  DType dtype;       ///< f32, bf16 or f16
  std::int64_t tokens;
  hd::LogitRules rules;
  unsigned long long* fault;  ///< the smallest word of all faults stays
};

struct RouteParams {
  RouterLogits logits;
  hd::RouterStep step;
  float const* bias;       ///< [experts] or null
  float const* selection;  ///< [tokens, experts] or null
  std::int32_t* ids;       ///< [tokens, top_k]
  float* weights;          ///< [tokens, top_k]
};

struct RouteGradientParams {
  RouterLogits logits;
  hd::RouterStep step;
  std::int32_t const* ids;  ///< [tokens, top_k]
  float const* d_weights;   ///< [tokens, top_k]
  float* d_logits;          ///< [tokens, experts]
};

/// Words of shared memory of one warp, for either direction: two rows of experts, lists of choices and of groups.
SWITCHYARD_HD constexpr std::int64_t router_warp_words(hd::RouterStep const& step) noexcept {
  std::int64_t const lists = 3 * static_cast<std::int64_t>(step.top_k) + 2 * hd::lane_scratch_entries(step);
  return 2 * static_cast<std::int64_t>(step.num_experts) + lists;
}
[[nodiscard]] constexpr std::int64_t router_warp_bytes(hd::RouterStep const& step) noexcept {
  return router_warp_words(step) * 4;
}
/// Loads the kernels and lets them have all shared memory of the current device. @return bytes that a block may have
[[nodiscard]] std::int64_t prepare_router_kernels();
void launch_route(RouteParams const& params, StreamView stream);
void launch_route_gradient(RouteGradientParams const& params, StreamView stream);

}  // namespace switchyard::cuda
