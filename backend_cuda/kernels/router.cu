// SPDX-License-Identifier: Apache-2.0
// Routing and its gradient, a warp per token: hd's functions over rows in shared memory.
#include "dtype_switch.cuh"
#include "router_rows.cuh"
#include "switchyard/hd/router_gradient.hpp"

namespace switchyard::cuda {

namespace {

/// @return whether the bias can be added, checked by every warp for itself
__device__ bool check_bias(RouteParams const& params) {
  if (params.bias == nullptr) return true;
  std::uint32_t const expert = smallest_code(params.step.num_experts, [&](std::int32_t e) {
    return hd::is_finite_f32(params.bias[e]) ? kNoCode : static_cast<std::uint32_t>(e);
  });
  if (expert == kNoCode) return true;
  raise_router_fault(params.logits.fault, RouterFault::bias,
                     static_cast<std::uint64_t>(expert) << 32 | __float_as_uint(params.bias[expert]));
  return false;
}

__device__ bool check_selection(RouteParams const& params, std::int64_t token) {
  if (params.selection == nullptr) return true;
  std::int64_t const first = token * params.step.num_experts;
  std::uint32_t const expert = smallest_code(params.step.num_experts, [&](std::int32_t e) {
    return isnan(params.selection[first + e]) ? static_cast<std::uint32_t>(e) : kNoCode;
  });
  if (expert == kNoCode) return true;
  raise_router_fault(params.logits.fault, RouterFault::selection, static_cast<std::uint64_t>(first) + expert);
  return false;
}

template <typename T>
__global__ void __launch_bounds__(kRouterThreads, 4) route_kernel(RouteParams params) {
  hd::RouterStep const step = params.step;
  std::int32_t const entries = hd::lane_scratch_entries(step);
  float* const scores = warp_memory(router_warp_words(step));
  float* const keys = scores + step.num_experts;
  float* const weights = keys + step.num_experts;
  auto* const ids = reinterpret_cast<std::int32_t*>(weights + step.top_k);
  auto* const values = reinterpret_cast<float*>(ids + step.top_k);
  hd::RouterScratch const scratch{scores, keys, values, reinterpret_cast<std::int32_t*>(values + entries)};
  bool const has_bias = check_bias(params);
  for (std::int64_t token = first_token(); token < params.logits.tokens; token += token_stride()) {
    bool const is_good =
        has_bias & check_selection(params, token) & read_logits<T>(params.logits, step.num_experts, token, scores);
    if (is_good) {
      float const* const own = params.selection == nullptr ? nullptr : params.selection + token * step.num_experts;
      hd::route_token(WarpCrew{}, step, scores, hd::RouterChoice{params.bias, own}, scratch, ids, weights);
    }
    WarpCrew{}.each(step.top_k, [=](std::int64_t k) {
      params.ids[token * step.top_k + k] = is_good ? ids[k] : -1;
      params.weights[token * step.top_k + k] = is_good ? weights[k] : 0.0F;
    });
  }
}

/// Copies a token's ids to shared memory. @return whether all of them are experts
__device__ bool read_ids(RouteGradientParams const& params, std::int64_t token, std::int32_t* ids) {
  std::int64_t const first = token * params.step.top_k;
  std::uint32_t const slot = smallest_code(params.step.top_k, [=](std::int32_t k) {
    ids[k] = params.ids[first + k];
    return ids[k] >= 0 && ids[k] < params.step.num_experts ? kNoCode : static_cast<std::uint32_t>(k);
  });
  __syncwarp();
  if (slot == kNoCode) return true;
  RouterFault const kind = ids[slot] == -1 ? RouterFault::dropped : RouterFault::bad_id;
  raise_router_fault(params.logits.fault, kind, static_cast<std::uint64_t>(first) + slot);
  return false;
}

template <typename T>
__global__ void __launch_bounds__(kRouterThreads, 4) route_gradient_kernel(RouteGradientParams params) {
  hd::RouterStep const step = params.step;
  float* const logits = warp_memory(router_warp_words(step));
  float* const d_logits = logits + step.num_experts;
  float* const gradient = d_logits + step.num_experts;
  float* const scores = gradient + step.top_k;
  auto* const ids = reinterpret_cast<std::int32_t*>(scores + step.top_k);
  for (std::int64_t token = first_token(); token < params.logits.tokens; token += token_stride()) {
    bool const is_good = read_ids(params, token, ids) & read_logits<T>(params.logits, step.num_experts, token, logits);
    if (is_good)
      hd::route_token_gradient(WarpCrew{}, step, logits, ids, params.d_weights + token * step.top_k,
                               hd::RouterGradientScratch{gradient, scores, logits}, d_logits);
    WarpCrew{}.each(step.num_experts, [=](std::int64_t e) {
      params.d_logits[token * step.num_experts + e] = is_good ? d_logits[e] : 0.0F;
    });
  }
}

}  // namespace

std::int64_t prepare_router_kernels() {
  int const bytes = shared_bytes_of_device();
  for (DType const dtype : {DType::f32, DType::bf16, DType::f16})
    by_row_dtype(dtype, [&](auto row) {
      allow_shared_memory(&route_kernel<decltype(row)>, bytes);
      allow_shared_memory(&route_gradient_kernel<decltype(row)>, bytes);
    });
  return bytes;
}

void launch_route(RouteParams const& params, StreamView stream) {
  by_row_dtype(params.logits.dtype, [&](auto row) {
    launch_rows("route_kernel", &route_kernel<decltype(row)>, params, router_warp_bytes(params.step), stream);
  });
}

void launch_route_gradient(RouteGradientParams const& params, StreamView stream) {
  by_row_dtype(params.logits.dtype, [&](auto row) {
    launch_rows("route_gradient_kernel", &route_gradient_kernel<decltype(row)>, params, router_warp_bytes(params.step),
                stream);
  });
}

}  // namespace switchyard::cuda
