// SPDX-License-Identifier: Apache-2.0
#include "fast_bench.hpp"
#include "switchyard/internal/require.hpp"

namespace gpu_bench {

bool has_fast_experts() noexcept {
  return false;
}

void bench_fast_experts(Results&, KernelTimer&) {
  using switchyard::ErrorCode;
  switchyard::throw_error(ErrorCode::unsupported,
                          "this build has no fast expert engine: cuBLAS was not found when it was configured; install "
                          "its headers and configure again, or measure the exact engine",
                          __FILE__, __LINE__);
}

}  // namespace gpu_bench
