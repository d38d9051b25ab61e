// SPDX-License-Identifier: Apache-2.0
// bench: its arithmetic on samples made up here, its forms as the program prints them; no test looks at a time.
//
// Worked example: 4 ranks, one_hot, 1024 bytes each: rank 0 receives 4096, 1024 of them its own. A median of 2 us gives
// algbw 4096 B / 2 us = 2.05 GB/s, busbw 3/4 of it; a floor of 1 us is a ratio of 0.5.
#include <doctest/doctest.h>

#include <algorithm>

#include "bench/alltoallv_cpu.hpp"
#include "bench/bench_table.hpp"
#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;
namespace bench = switchyard::bench;
namespace cli = switchyard::cli;

TEST_CASE("the table's figures follow from the samples") {
  bench::AllToAllTable table{"box", "by hand", 4, {}};
  table.cases.push_back({"one_hot", 1024, 4096, 0.75, {9, 2, 1}, {1, 1, 1}});
  auto const text = cli::to_table(table);
  CAPTURE(text);
  CHECK(contains(text, "one_hot  1,024        2.0          2.05          1.54         1.0  0.500"));
  CHECK(contains(bench::to_json(table), "\"samples_us\":[9.0,2.0,1.0],\"floor_us\":[1.0,1.0,1.0]}"));
  CHECK(contains(bench::to_csv(table), "one_hot,1024,1,2.000,1.000\n"));
  table.cases.front().floor_us.clear();
  CHECK_FALSE(contains(bench::to_json(table), "floor_us"));
  CHECK(bench::median_of({}) == 0);
  CHECK(bench::median_of({4, 1}) == 2.5);
}

TEST_CASE("every pattern at every size, with the bytes of the busiest rank") {
  auto const table = cli::bench_alltoallv_cpu({4, 4096, 8192, 2});
  REQUIRE(table.cases.size() == 10);
  for (auto const& one : table.cases) {
    CAPTURE(one.pattern);
    CHECK(one.samples_us.size() == 2);
    CHECK(one.floor_us.size() == 2);
    CHECK(one.bus_factor <= 1);
    CHECK(one.bus_factor > 0);
    if (one.pattern == "uniform") CHECK(one.largest_bytes == one.total_bytes);
    if (one.pattern == "uniform") CHECK(one.bus_factor == 0.75);
    if (one.pattern == "one_hot") CHECK(one.largest_bytes == 4 * one.total_bytes);
    if (one.pattern == "one_hot") CHECK(one.bus_factor == 0.75);
    if (one.pattern == "one_direction") CHECK(one.bus_factor == 1);
  }
  CHECK(cli::bench_alltoallv_cpu({1, 1, 1, 1}).cases.size() == 5);  // one rank, messages of no byte
}

TEST_CASE("the program: a report that calibrate reads, CSV with all samples, mistakes") {
  CliRunner const runner;
  std::string const small = "bench alltoallv --ranks 2 --min-bytes 4096 --max-bytes 16384 --samples 3 ";
  auto const result = runner.run(small + "--format csv --out samples.json");
  CHECK(result.exit_code == 0);
  CHECK(result.err.empty());
  CHECK(std::count(result.out.begin(), result.out.end(), '\n') == 1 + 3 * 5 * 3);
  CHECK(contains(runner.read("samples.json"), "switchyard.alltoallv_samples/1"));
  auto const calibrated = runner.run("calibrate samples.json");
  CAPTURE(calibrated.err);
  CHECK(calibrated.exit_code == 0);
  CHECK(contains(runner.read("samples.json"), "floor_us"));
  std::string const odd = R"({"schema": "switchyard.alltoallv_samples/1", "machine": "box", "provenance": "by hand",
    "patterns": {}, "ranks": 2, "cases": [{"pattern": "uniform", "total_bytes": 4, "samples_us": [1, 2], "floor_us": [1]}]})";
  runner.write("odd.json", odd);
  auto const refused = runner.run("calibrate odd.json");
  CHECK(refused.exit_code != 0);
  CHECK(contains(refused.err, "cases[0].floor_us"));
  CHECK(contains(runner.run(small).out, "half_silent"));
  CHECK(contains(runner.run("bench alltoallv --min-bytes 9 --max-bytes 8").err, "--max-bytes 8 is less"));
  CHECK(contains(runner.run("bench alltoall").err, "did you mean 'alltoallv'?"));
  CHECK(contains(runner.run(small + "--csv nowhere/samples.csv").err, "there is no folder 'nowhere'"));
  CHECK(runner.run(small + "--json again.json --csv samples.csv").exit_code == 0);
  CHECK(contains(runner.read("again.json"), "switchyard.alltoallv_samples/1"));
  CHECK(contains(runner.read("samples.csv"), "half_silent,16384,2,"));
}

TEST_CASE("what needs GPUs says so in one line") {
  CliRunner const runner;
  auto const on_cpu = runner.run("bench dispatch");
  CHECK(on_cpu.exit_code == 2);
  CHECK(contains(on_cpu.err, "add --backend cuda"));
  CHECK(contains(runner.run("bench kernels --backend cuda --gpus 2").err, "measures one GPU"));
  auto const result = runner.run("bench dispatch --backend cuda --gpus 64");
  CAPTURE(result.err);
  CHECK(result.exit_code == 2);
  CHECK(result.out.empty());
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK((contains(result.err, "no CUDA backend") || contains(result.err, "no usable GPU") ||
         contains(result.err, "--gpus 64")));
}

// 2,000 bytes in 2 us are 1 GB/s; half of them go to others; a copy of them took 1 us.
TEST_CASE("a record as a line, JSON and CSV") {
  bench::BenchRecord const record{"permute T=5", {{"tokens", 5}}, 2000, 0.5, 1, {2, 4, 1.23456789}};
  CHECK(contains(bench::to_line(record), "permute T=5 "));
  CHECK(contains(bench::to_line(record), " 2000        2.0          1.0          0.5        1.0  0.500\n"));
  CHECK(contains(bench::to_line({"plan", {}, 0, 0, 0, {3}}),
                 " -        3.0            -            -          -      -\n"));
  CHECK(bench::to_json_line(record) ==
        "{\"name\":\"permute T=5\",\"tokens\":5,\"bytes\":2000,\"median_us\":2.0,\"gbs\":1.0,\"busbw_gbs\":0.5,"
        "\"of_floor\":0.5,\"samples_us\":[2.0,4.0,1.2346]}\n");
  CHECK(bench::to_csv({record}) ==
        "name,bytes,sample,time_us,floor_us\n\"permute T=5\",2000,0,2.000,1.000\n"
        "\"permute T=5\",2000,1,4.000,1.000\n\"permute T=5\",2000,2,1.235,1.000\n");
}

TEST_CASE("calibrate reads records of dispatches with bus bandwidths") {
  CliRunner const runner;
  std::string text = bench::to_json_line("device", "NVIDIA H100, compute capability 9.0, CUDA runtime 13.0");
  for (double const tokens : {128.0, 4096.0}) {
    auto const name = "stage permute flex T=" + std::to_string(static_cast<int>(tokens));
    text += bench::to_json_line({name, {{"tokens", tokens}, {"ranks", 2}}, tokens * 100, 0.5, 1, {tokens, tokens + 1}});
  }
  runner.write("dispatch.json", text);
  auto const result = runner.run("calibrate dispatch.json");
  CAPTURE(result.err);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.out, "stage permute flex T=N"));
  CHECK_FALSE(contains(result.out, "busbw"));
}
