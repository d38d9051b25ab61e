// SPDX-License-Identifier: Apache-2.0
#include "bench/gpu_bench.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cli {
namespace {

[[noreturn]] void refuse() {
  throw_error(ErrorCode::unsupported,
              "this build has no CUDA backend: configure with the preset cuda-release to measure GPUs; "
              "'bench alltoallv --backend cpu' needs none",
              __FILE__, __LINE__);
}

}  // namespace

int gpus_for(int) {
  refuse();
}
GpuRecords run_gpu_bench(GpuBench const&) {
  refuse();
}
bench::AllToAllTable bench_alltoallv_gpu(bench::AllToAllBench const&, bool) {
  refuse();
}

}  // namespace switchyard::cli
