// SPDX-License-Identifier: Apache-2.0
// `switchyard simulate` as a user runs it.
//
// Worked example: the rebalance below moves experts of 1,000 bytes on one node of 2 GPUs with ports of 1 GB/s, no
// latency: 8 experts on 2 GPUs from contiguous halves to round robin, 2 experts cross each way, 2 us.
#include <doctest/doctest.h>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;

namespace {

void make_group(CliRunner const& cli) {
  REQUIRE(cli.run("generate routing --preset log-normal --ranks 16 --experts 64 --topk 4 --tokens 32 --seed 3 "
                  "--out routing.jsonl")
              .exit_code == 0);
  REQUIRE(cli.run("dispatch --routing routing.jsonl --tp 1 --ep 16 --family flex --out group.jsonl").exit_code == 0);
}

char const* const kBox = R"({"format": "switchyard-topology", "schema_version": 1, "name": "box", "nodes": 1,
 "gpus_per_node": 2, "intra_node": {"fabric": "nvswitch", "gpu_gb_per_s": 1, "peer_gb_per_s": 1, "latency_us": 0,
 "message_us": 0}})";

}  // namespace

TEST_CASE("a rebalance on a box worked by hand") {
  CliRunner const cli;
  cli.write("box.json", kBox);
  cli.write("load.json", R"({"logical_count": [[1, 1, 1, 1, 1, 1, 1, 1]]})");
  auto const plan =
      cli.run("plan --load load.json --experts 8 --gpus 2 --slots 8 --policy round-robin --out plan.json");
  CAPTURE(plan.err);
  REQUIRE(plan.exit_code == 0);
  auto const result = cli.run("simulate plan.json --cluster box.json --expert-bytes 1000 --format json");
  CAPTURE(result.out);
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(result.out, "\"time_us\": 2.0"));
  CHECK(contains(result.out, "\"kind\": \"rebalance\""));
}

TEST_CASE("a group runs on every preset and fidelity; the cluster comes back as a file") {
  CliRunner const cli;
  make_group(cli);
  for (char const* preset : {"dgx-h100", "dgx-h200", "dgx-b200", "gb200-nvl72", "dgx-a100", "l40s-8"})
    for (char const* fidelity : {"t0", "t1", "t1-first-order", "t2"}) {
      std::string const call = std::string("simulate group.jsonl --cluster ") + preset + " --fidelity " + fidelity;
      CAPTURE(call);
      auto const result = cli.run(call + " --cluster-out cluster.json");
      CAPTURE(result.err);
      REQUIRE(result.exit_code == 0);
      CHECK(contains(result.out, "dispatch: exchange"));
      auto const again = cli.run(std::string("simulate group.jsonl --cluster cluster.json --fidelity ") + fidelity);
      CHECK(again.out == result.out);
    }
  auto const result = cli.run("simulate group.jsonl --cluster dgx-h100");
  CHECK(contains(result.out, "hangs on (20 % more or less of one constant)"));
  CHECK(contains(result.out, "network.nic_gb_per_s"));
  CHECK_FALSE(contains(cli.run("simulate group.jsonl --cluster dgx-h100 --no-sensitivity").out, "hangs on"));
}

TEST_CASE("merging says in words and in numbers how far it may be off") {
  CliRunner const cli;
  make_group(cli);
  std::string const call = "simulate group.jsonl --cluster dgx-h100 --no-sensitivity ";
  auto const merged = cli.run(call + "--merge 0.1");
  CAPTURE(merged.out);
  CHECK(contains(merged.out, "; merged events: up to "));
  CHECK_FALSE(contains(cli.run(call).out, "merged events"));
  CHECK(contains(cli.run(call + "--format json").out, "\n  \"merge_error_us\": 0.0,"));
  CHECK_FALSE(contains(cli.run(call + "--merge 0.1 --format json").out, "\n  \"merge_error_us\": 0.0,"));
}

TEST_CASE("what cannot be simulated is refused with what to do") {
  CliRunner const cli;
  make_group(cli);
  cli.write("box.json", kBox);
  auto const refused = [&](std::string const& arguments, char const* text) {
    auto const result = cli.run("simulate " + arguments);
    CAPTURE(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code == 2);
    CHECK(contains(result.err, text));
  };
  refused("group.jsonl --cluster dgx-h1000", "is no preset (dgx-h100,");
  refused("group.jsonl --cluster box.json",
          "group.jsonl is of 16 ranks, the cluster \"box\" has 2: take a larger cluster");
  refused("group.jsonl --cluster box.json --nodes 2", "--nodes is for presets");
  refused("group.jsonl --cluster dgx-h100 --fidelity t3", "t3");
  refused("box.json --cluster dgx-h100", "kind");
}

TEST_CASE("measured times: calibrate, simulate with them, validate") {
  CliRunner const cli;
  make_group(cli);
  std::string csv = "system,framework,version,device,op_name,kernel_source,nccl_dtype,num_gpus,message_size,latency\n";
  for (int ranks = 2; ranks <= 8; ranks *= 2)
    for (int bytes = 1024; bytes <= 1 << 20; bytes *= 2)
      csv += "box,T,2.29,Box GPU,alltoall,NCCL,int8," + std::to_string(ranks) + "," + std::to_string(bytes) + "," +
             std::to_string((10 + bytes / 1000.0) / 1000) + "\n";
  cli.write("times.csv", csv);
  auto const calibrated = cli.run("calibrate times.csv --out costs.json");
  CAPTURE(calibrated.err);
  REQUIRE(calibrated.exit_code == 0);
  CHECK(contains(calibrated.out, "alltoall box x8"));
  auto const timed = cli.run("simulate group.jsonl --cluster dgx-h100 --costs costs.json");
  CAPTURE(timed.err);
  CHECK(timed.exit_code == 0);
  CHECK(contains(timed.out, "all-to-all times of box (NCCL 2.29, times.csv)"));
  auto const plain = cli.run("simulate group.jsonl --cluster dgx-h100");
  CHECK(plain.out != timed.out);
  auto const validated = cli.run("simulate --validate times.csv");
  CHECK(validated.exit_code == 0);
  CHECK(contains(validated.out, "3 of 3 curves keep their gates"));
  CHECK(cli.run("simulate group.jsonl --cluster dgx-h100 --system box").exit_code == 2);
  CHECK(cli.run("simulate group.jsonl --cluster dgx-h100 --costs costs.json --system cube").exit_code == 2);
  CHECK(cli.run("simulate group.jsonl --cluster dgx-h100 --costs costs.json --expert-kernel none").exit_code == 2);
  CHECK(cli.run("simulate group.jsonl").exit_code == 2);
  cli.write("kernels.json",
            "{\"device\": \"Box GPU, CUDA runtime 13.0\"}\n"
            "{\"name\": \"permute 8 rows\", \"bytes\": 1000, \"samples_us\": [6, 5]}\n"
            "{\"name\": \"permute 16 rows\", \"bytes\": 2000, \"samples_us\": [9, 9]}\n");
  REQUIRE(cli.run("calibrate times.csv kernels.json --out both.json").exit_code == 0);
  auto const permuted = cli.run(
      "simulate group.jsonl --cluster dgx-h100 --costs both.json --all-phases --no-sensitivity "
      "--permute-kernel \"permute N rows Box GPU\"");
  CAPTURE(permuted.err);
  CHECK(permuted.exit_code == 0);
  CHECK(contains(permuted.out, "permute"));
  CHECK(contains(permuted.out, "kernel of rank"));
  CHECK(cli.run("simulate group.jsonl --cluster dgx-h100 --permute-kernel x").exit_code == 2);
  CHECK(cli.run("simulate group.jsonl --cluster dgx-h100 --costs both.json --permute-kernel x").exit_code == 2);
  CHECK(cli.run("trace group.jsonl --cluster dgx-h100 --costs both.json --permute-kernel \"permute N rows Box GPU\"")
            .exit_code == 2);
  CHECK(contains(cli.run("simulate --validate kernels.json").out, "fewer than three sizes"));
  cli.write("anonymous.csv", "op_name,nccl_dtype,num_gpus,message_size,latency\nalltoall,half,2,8,0.1\n");
  CHECK(cli.run("calibrate anonymous.csv --out other.json").exit_code == 2);
}

TEST_CASE("compare: a plan against one of fewer tokens, and against itself") {
  CliRunner const cli;
  make_group(cli);
  REQUIRE(cli.run("generate routing --preset log-normal --ranks 16 --experts 64 --topk 4 --tokens 8 --seed 3 "
                  "--out small.jsonl")
              .exit_code == 0);
  REQUIRE(cli.run("dispatch --routing small.jsonl --tp 1 --ep 16 --family flex --out small_group.jsonl").exit_code ==
          0);
  auto const result = cli.run("compare group.jsonl small_group.jsonl --cluster dgx-h100");
  CAPTURE(result.err);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.out, "B is faster"));
  CHECK(contains(result.out, "the verdict holds with 20 % more or less of any constant"));
  CHECK(contains(cli.run("compare group.jsonl group.jsonl --cluster dgx-h100").out, "both take the same time"));
  CHECK(cli.run("compare group.jsonl --cluster dgx-h100").exit_code == 2);
}
