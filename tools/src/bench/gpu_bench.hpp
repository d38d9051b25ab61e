// SPDX-License-Identifier: Apache-2.0
/// The GPU benchmarks behind `switchyard bench --backend cuda`; gpu_bench_cuda.cpp runs them, gpu_bench_none.cpp says
/// that this build cannot.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "alltoallv_table.hpp"

namespace switchyard::cli {

/// What all GPU benchmarks but alltoallv leave.
struct GpuRecords {
  std::vector<bench::BenchRecord> records{};
  std::string json_lines{};  ///< as `switchyard calibrate` reads them
};

struct GpuBench {
  std::string what{};                  ///< kernels, plan or experts; between ranks dispatch, fused or budget
  int gpus = 1;                        ///< between ranks
  std::vector<std::int64_t> tokens{};  ///< between ranks, of a rank; empty: the benchmark's own
  std::string engine = "all";          ///< of experts: exact, fast or all that this build has
  bool lines = true;                   ///< every case becomes a line on stdout as it is measured
};

/// @param wanted 0: all. @return how many GPUs to use. @throws Error{cuda} without that many, Error{unsupported} in a
/// build without CUDA
[[nodiscard]] int gpus_for(int wanted);
/// Both: @throws Error{unsupported} in a build that cannot, Error{cuda} with what a rank threw
[[nodiscard]] GpuRecords run_gpu_bench(GpuBench const& bench);
[[nodiscard]] bench::AllToAllTable bench_alltoallv_gpu(bench::AllToAllBench const& bench, bool lines);

}  // namespace switchyard::cli
