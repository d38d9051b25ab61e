// SPDX-License-Identifier: Apache-2.0
#include "cuda_error.hpp"
#include "router_probe.hpp"

namespace cross_backend {

namespace {

/// One thread per token, grid rounded up; blocks of 64 because every thread walks its own rows.
constexpr unsigned kThreads = 64;

__global__ void router_kernel(switchyard::hd::RouterStep step, RouterArrays arrays, std::int64_t num_tokens) {
  std::int64_t const token = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (token < num_tokens) probe_token(step, arrays, token);
}

}  // namespace

void launch_router_probe(switchyard::hd::RouterStep const& step, RouterArrays const& arrays, std::int64_t num_tokens,
                         switchyard::cuda::StreamView stream) {
  auto const blocks = static_cast<unsigned>((num_tokens + kThreads - 1) / kThreads);
  router_kernel<<<blocks, kThreads, 0, stream.handle()>>>(step, arrays, num_tokens);
  switchyard::cuda::check_launch("router_kernel");
}

}  // namespace cross_backend
