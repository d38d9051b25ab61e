// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_alltoallv <out.json> [ranks]: bench_alltoallv() as a program; default 2.
#include <fstream>

#include "bench_program.hpp"
#include "gpu_benches.hpp"

int main(int argc, char** argv) {
  return gpu_bench::run_rank_program(argc, argv, [](char const* path, int ranks) {
    constexpr std::int64_t kLeast = std::int64_t{64} << 10;
    constexpr std::int64_t kMost = std::int64_t{256} << 20;
    std::ofstream file(path);
    auto const table = gpu_bench::bench_alltoallv({ranks, kLeast, kMost, 30}, gpu_bench::Echo::lines);
    file << switchyard::bench::to_json(table) << std::flush;
    std::printf("%zu cases written\n", table.cases.size());
    return file.good() ? 0 : 1;
  });
}
