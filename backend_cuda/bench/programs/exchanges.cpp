// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_exchanges <out.json> [ranks] [graph]: bench_exchanges() as a program; default 2.
#include <fstream>
#include <string_view>

#include "bench_program.hpp"
#include "gpu_benches.hpp"

int main(int argc, char** argv) {
  bool const graph = argc == 4 && std::string_view(argv[3]) == "graph";
  return gpu_bench::run_rank_program(graph ? 3 : argc, argv, [&](char const* path, int ranks) {
    std::ofstream file(path);
    auto const issue = graph ? gpu_bench::Issue::graph : gpu_bench::Issue::host;
    auto const table = gpu_bench::bench_exchanges(ranks, issue, gpu_bench::Echo::lines);
    file << switchyard::bench::to_json(table) << std::flush;
    std::printf("%zu cases written\n", table.cases.size());
    return file.good() ? 0 : 1;
  });
}
