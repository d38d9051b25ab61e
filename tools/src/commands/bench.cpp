// SPDX-License-Identifier: Apache-2.0
// switchyard bench: times moving rows between ranks beside copying the same bytes.
#include <fmt/format.h>

#include "bench/alltoallv_cpu.hpp"
#include "commands/commands.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::cli {
namespace {

constexpr std::int64_t kLargest = std::int64_t{1} << 32;

AllToAllBench bench_of(ParsedOptions const& options) {
  AllToAllBench bench;
  bench.ranks = options.small_integer("ranks", 1, 64);
  bench.least_bytes = options.integer("min-bytes", 1, kLargest);
  bench.most_bytes = options.integer("max-bytes", 1, kLargest);
  bench.samples = options.small_integer("samples", 1, 100000);
  if (bench.most_bytes < bench.least_bytes)
    throw UsageError(fmt::format("--max-bytes {} is less than --min-bytes {}: sizes double from one to the other",
                                 bench.most_bytes, bench.least_bytes));
  return bench;
}

ExitCode run_bench(ParsedOptions const& options) {
  std::string const format = options.choice("format", {"table", "json", "csv"});
  static_cast<void>(options.choice("WHAT", {"alltoallv"}));
  AllToAllBench const bench = bench_of(options);
  BenchTable const table = bench_alltoallv_cpu(bench);
  if (options.has("out")) io::write_file_atomically(options.text("out"), to_json(table));
  fmt::print("{}", format == "json" ? to_json(table) : format == "csv" ? to_csv(table) : to_table(table));
  return ExitCode::ok;
}

}  // namespace

Command bench_command() {
  return {"bench",
          "times all-to-alls beside copies",
          "alltoallv: exchanges of every size (doubling) in five patterns: uniform, zipf, one_hot, one_direction and\n"
          "half_silent, on emulated ranks, threads of this process. A sample is the largest time of any rank; tables\n"
          "show medians, JSON and CSV keep all samples. The floor is a copy of the bytes that a rank receives, after\n"
          "each sample. algbw counts the busiest rank's bytes, busbw those it exchanges with others. The JSON is what\n"
          "'switchyard calibrate' reads (docs/formats/bench.md). GPUs are measured by programs of the CUDA build:\n"
          "switchyard_gpu_alltoallv, switchyard_gpu_ranks and switchyard_gpu_kernels (docs/gpu.md).\n",
          {{"WHAT", OptionKind::positional, "WHAT", "", "alltoallv"},
           {"ranks", OptionKind::optional, "N", "4", "ranks that exchange"},
           {"min-bytes", OptionKind::optional, "BYTES", "65536", "smallest size that a rank sends"},
           {"max-bytes", OptionKind::optional, "BYTES", "16777216", "largest size that a rank sends"},
           {"samples", OptionKind::optional, "N", "30", "measured exchanges of a case"},
           {"format", OptionKind::optional, "table|json|csv", "table", "how the report on stdout is written"},
           {"out", OptionKind::optional, "FILE", "", "writes the JSON, too"}},
          {"switchyard bench alltoallv --ranks 4 --max-bytes 1048576",
           "switchyard bench alltoallv --format csv --samples 5"},
          run_bench};
}

}  // namespace switchyard::cli
