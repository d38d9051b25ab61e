// SPDX-License-Identifier: Apache-2.0
// `switchyard memory` as a user runs it. Figures of the calculator itself: experts_memory_test.cpp.
#include <doctest/doctest.h>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;

TEST_CASE("the example by hand as a table and as JSON") {
  CliRunner const cli;
  std::string const call = "memory --hidden 256 --intermediate 128 --experts 8 --topk 2 --ep 4 --tokens 10";
  auto const table = cli.run(call);
  CAPTURE(table.err);
  REQUIRE(table.exit_code == 0);
  CHECK(contains(table.out, "EP 4 x TP 1, 2 slots per rank, 10 tokens per rank"));
  CHECK(contains(table.out, "EP x tokens x min(top-k, slots per rank), 512 bytes each"));
  auto const json = cli.run(call + " --family flex --format json");
  REQUIRE(json.exit_code == 0);
  CHECK(contains(json.out, "\"expert_bytes\": 196608"));
  CHECK(contains(json.out, "\"worst\": 20480"));
  CHECK_FALSE(contains(json.out, "alltoall"));
}

TEST_CASE("models, DeepEP's limit, exact sizes of a recording") {
  CliRunner const cli;
  auto const deepep = cli.run("memory --model glm-4.5 --experts 448 --ep 64 --tokens 2048 --family low_latency");
  REQUIRE(deepep.exit_code == 0);
  CHECK(contains(deepep.out, "35.5 GiB"));
  CHECK(contains(deepep.out, "too large"));
  REQUIRE(cli.run("generate routing --preset log-normal --ranks 16 --experts 64 --topk 4 --tokens 32 --seed 3 "
                  "--out routing.jsonl")
              .exit_code == 0);
  auto const exact =
      cli.run("memory --hidden 256 --intermediate 128 --experts 64 --topk 4 --ep 16 --routing routing.jsonl");
  CAPTURE(exact.err);
  REQUIRE(exact.exit_code == 0);
  CHECK(contains(exact.out, "32 tokens per rank"));
  CHECK(contains(exact.out, "exact"));
}

TEST_CASE("mistakes are one line with a fix") {
  CliRunner const cli;
  auto const missing = cli.run("memory --hidden 256");
  CHECK(missing.exit_code == 2);
  CHECK(contains(missing.err, "--intermediate is missing: give all four sizes or a --model"));
  CHECK(contains(cli.run("memory --model deepseek-v2").err, "did you mean"));
  CHECK(contains(cli.run("memory --model kimi-k2 --tp 2 --family megablocks").err, "--tp 1 only"));
  CHECK(cli.run("memory --model kimi-k2 --slots 100").exit_code == 2);
}
