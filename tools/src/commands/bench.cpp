// SPDX-License-Identifier: Apache-2.0
// switchyard bench: times moving rows, between ranks and on a GPU, beside copying the same bytes.
#include <fmt/format.h>

#include <filesystem>

#include "bench/alltoallv_cpu.hpp"
#include "bench/bench_table.hpp"
#include "bench/gpu_bench.hpp"
#include "cli/lists.hpp"
#include "commands/commands.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::cli {
namespace {

constexpr std::int64_t kLargest = std::int64_t{1} << 32;
constexpr int kMostGpus = 64;
constexpr std::int64_t kMostTokens = 65536;

/// A report in all its forms.
struct Report {
  std::string table{};  ///< empty: its lines have been printed as they were measured
  std::string json{};
  std::string csv{};
};

bench::AllToAllBench sizes_of(ParsedOptions const& options) {
  bench::AllToAllBench sizes;
  sizes.ranks = options.small_integer("ranks", 1, 64);
  sizes.least_bytes = options.integer("min-bytes", 1, kLargest);
  sizes.most_bytes = options.integer("max-bytes", 1, kLargest);
  sizes.samples = options.small_integer("samples", 1, 100000);
  if (sizes.most_bytes < sizes.least_bytes)
    throw UsageError(fmt::format("--max-bytes {} is less than --min-bytes {}: sizes double from one to the other",
                                 sizes.most_bytes, sizes.least_bytes));
  return sizes;
}

Report report_of(bench::AllToAllTable const& table, bool printed) {
  return {printed ? "" : to_table(table), bench::to_json(table), bench::to_csv(table)};
}

Report run_on_cpu(std::string const& what, ParsedOptions const& options) {
  if (what != "alltoallv")
    throw UsageError(
        fmt::format("'bench {}' measures GPUs: add --backend cuda; docs/performance.md says which "
                    "programs measure the CPU",
                    what));
  return report_of(bench_alltoallv_cpu(sizes_of(options)), false);
}

Report run_on_gpus(std::string const& what, ParsedOptions const& options, bool lines) {
  auto sizes = sizes_of(options);
  GpuBench bench{what, 1, {}, options.choice("engine", {"all", "exact", "fast"}), lines};
  if (options.has("tokens")) bench.tokens = integer_list("tokens", options.text("tokens"), 1, kMostTokens);
  if (bench.engine != "all" && what != "experts")
    throw UsageError(fmt::format("--engine {}: 'bench {}' has no engines, 'bench experts' has", bench.engine, what));
  int const wanted = options.small_integer("gpus", 0, kMostGpus);
  bool const has_one = what == "kernels" || what == "plan" || what == "router" || what == "experts";
  if (has_one && wanted > 1)
    throw UsageError(
        fmt::format("--gpus {}: 'bench {}' measures one GPU, the first that this process sees", wanted, what));
  sizes.ranks = bench.gpus = gpus_for(wanted);
  if (what == "alltoallv") return report_of(bench_alltoallv_gpu(sizes, lines), lines);
  auto const records = run_gpu_bench(bench);
  return {"", records.json_lines, bench::to_csv(records.records)};
}

/// Before minutes of measuring, whose result would have no place.
void require_folder_of(ParsedOptions const& options, char const* option) {
  auto const folder = std::filesystem::path(options.text(option)).parent_path();
  std::error_code ignored;
  if (!folder.empty() && !std::filesystem::is_directory(folder, ignored))
    throw UsageError(
        fmt::format("--{} {}: there is no folder '{}': make it first", option, options.text(option), folder.string()));
}

ExitCode run_bench(ParsedOptions const& options) {
  std::string const format = options.choice("format", {"table", "json", "csv"});
  std::string const what =
      options.choice("WHAT", {"alltoallv", "dispatch", "fused", "budget", "kernels", "plan", "router", "experts"});
  for (char const* option : {"out", "json", "csv"}) require_folder_of(options, option);
  bool const on_gpus = options.choice("backend", {"cpu", "cuda"}) == "cuda";
  Report const report = on_gpus ? run_on_gpus(what, options, format == "table") : run_on_cpu(what, options);
  for (char const* option : {"out", "json"})
    if (options.has(option)) io::write_file_atomically(options.text(option), report.json);
  if (options.has("csv")) io::write_file_atomically(options.text("csv"), report.csv);
  fmt::print("{}", format == "json" ? report.json : format == "csv" ? report.csv : report.table);
  return ExitCode::ok;
}

}  // namespace

Command bench_command() {
  return {
      "bench",
      "times all-to-alls, dispatches and kernels beside copies",
      "alltoallv: exchanges of every size (doubling) in five patterns: uniform, zipf, one_hot, one_direction and\n"
      "half_silent, on emulated ranks, threads of this process, or with --backend cuda between GPUs over NCCL. A\n"
      "sample is the largest time of any rank; tables show medians, JSON and CSV keep all samples. The floor is a\n"
      "copy of the same bytes in the same run: of memory on the CPU, by the devices themselves between GPUs. algbw\n"
      "counts the busiest rank's bytes, busbw those it exchanges with others.\n"
      "With --backend cuda also dispatch (plan, permute, exchange, sort, unpermute, combine one by one, then dispatch\n"
      "and combine over NCCL and by the fused path), fused (the fused path, from one token on), budget (slots of "
      "fixed\n"
      "size), and on one GPU kernels (row kernels), plan (the device planner), router and experts (quantisers, the\n"
      "exact engine and, where cuBLAS was found, the fast one). 'switchyard calibrate' reads all JSON "
      "(docs/formats/bench.md).\n",
      {{"WHAT", OptionKind::positional, "WHAT", "",
        "alltoallv, dispatch, fused, budget, kernels, plan, router or experts"},
       {"backend", OptionKind::optional, "cpu|cuda", "cpu", "emulated ranks, or the GPUs of this machine"},
       {"gpus", OptionKind::optional, "N", "0", "GPUs that exchange; 0: all that this process sees"},
       {"ranks", OptionKind::optional, "N", "4", "emulated ranks that exchange"},
       {"min-bytes", OptionKind::optional, "BYTES", "65536", "alltoallv: smallest size that a rank sends"},
       {"max-bytes", OptionKind::optional, "BYTES", "16777216", "alltoallv: largest size that a rank sends"},
       {"samples", OptionKind::optional, "N", "30", "alltoallv: measured exchanges of a case"},
       {"tokens", OptionKind::optional, "LIST", "", "dispatch, fused, budget: tokens of a rank"},
       {"engine", OptionKind::optional, "all|exact|fast", "all", "experts: which engine; fast needs cuBLAS"},
       {"format", OptionKind::optional, "table|json|csv", "table", "how the report on stdout is written"},
       {"json", OptionKind::optional, "FILE", "", "writes the JSON, too"},
       {"csv", OptionKind::optional, "FILE", "", "writes the CSV, too"},
       {"out", OptionKind::optional, "FILE", "", "the same as --json"}},
      {"switchyard bench alltoallv --ranks 4 --max-bytes 1048576",
       "switchyard bench dispatch --backend cuda --tokens 4096 --json dispatch.json"},
      run_bench};
}

}  // namespace switchyard::cli
