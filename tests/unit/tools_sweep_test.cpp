// SPDX-License-Identifier: Apache-2.0
// `switchyard sweep` as a user runs it.
//
// Worked example: a box of 2 GPUs with ports of 1 GB/s, experts of 1,000 bytes, from contiguous halves to round robin.
// Plan A has 2 layers of 4 experts: one crosses each way and layer, 2 (1 + L) us with a latency of L. Plan B has one
// layer of 12: three cross each way, 3 + L us. A is faster below L = 1, B above.
#include <doctest/doctest.h>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;

namespace {

char const* const kBox = R"({"format": "switchyard-topology", "schema_version": 1, "name": "box", "nodes": 1,
 "gpus_per_node": 2, "intra_node": {"fabric": "nvswitch", "gpu_gb_per_s": 1, "peer_gb_per_s": 1, "latency_us": 0,
 "message_us": 0}})";

void make_plans(CliRunner const& cli) {
  cli.write("box.json", kBox);
  cli.write("a_load.json", R"({"logical_count": [[1, 1, 1, 1], [1, 1, 1, 1]]})");
  cli.write("b_load.json", R"({"logical_count": [[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]]})");
  REQUIRE(
      cli.run("plan --load a_load.json --experts 4 --gpus 2 --slots 4 --policy round-robin --out a.json").exit_code ==
      0);
  REQUIRE(
      cli.run("plan --load b_load.json --experts 12 --gpus 2 --slots 12 --policy round-robin --out b.json").exit_code ==
      0);
}

}  // namespace

TEST_CASE("two plans: the worked example, in all formats") {
  CliRunner const cli;
  make_plans(cli);
  std::string const call =
      "sweep a.json b.json --cluster box.json --expert-bytes 1000 --vary intra_node.latency_us=0..3.9:4";
  auto const table = cli.run(call);
  CAPTURE(table.out);
  CAPTURE(table.err);
  REQUIRE(table.exit_code == 0);
  CHECK(contains(table.out, "the faster plan changes from A to B between intra_node.latency_us = 0.9953"));
  CHECK(contains(table.out, "and 1.0054"));
  auto const json = cli.run(call + " --format json");
  CHECK(contains(json.out, "\"time_us\": 9.8"));  // A at 3.9 us
  CHECK(contains(json.out, "\"time_us\": 6.9"));  // B there
  CHECK(contains(json.out, "\"from\": \"A\""));
  auto const csv = cli.run(call + " --format csv");
  CHECK(csv.out.rfind("intra_node.latency_us,a_time_us,a_lower_bound_us,b_time_us,b_lower_bound_us,verdict\n"
                      "0,2,2,3,3,A\n",
                      0) == 0);
}

TEST_CASE("one plan: what binds, a spacing by factors and short names") {
  CliRunner const cli;
  REQUIRE(cli.run("generate routing --workload W2 --ranks 16 --experts 64 --topk 4 --tokens 64 --out routing.jsonl")
              .exit_code == 0);
  REQUIRE(cli.run("dispatch --routing routing.jsonl --ep 16 --family flex --out group.jsonl").exit_code == 0);
  auto const result =
      cli.run("sweep group.jsonl --cluster dgx-h100 --vary nic_gb_per_s=10..1000:3 --scale log --row-bytes 100000");
  CAPTURE(result.out);
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(result.out, "network.nic_gb_per_s"));
  CHECK(contains(result.out, "100 "));
  CHECK(contains(result.out, "what binds the longest phase changes from nic_"));
  auto const flat = cli.run("sweep group.jsonl --cluster dgx-h100 --vary nic_gb_per_s=10..11:2 --row-bytes 100000");
  CHECK(contains(flat.out, "one verdict over the whole range: nic_"));
}

TEST_CASE("a network file of ASTRA-sim is a cluster, and comes back as a file of ours") {
  CliRunner const cli;
  make_plans(cli);
  std::string const network = "topology: [ Switch ]\nnpus_count: [ 2 ]\nbandwidth: [ 1 ]\nlatency: [ 500 ]  # ns\n";
  cli.write("net.yml", network);
  auto const call = [&](std::string const& cluster) {
    return cli.run("sweep a.json --cluster " + cluster + " --vary gpu_gb_per_s=1..4:4 --format csv");
  };
  auto const swept = call("net.yml");
  CAPTURE(swept.err);
  REQUIRE(swept.exit_code == 0);
  REQUIRE(cli.run("simulate a.json --cluster net.yml --cluster-out net.json").exit_code == 0);
  CHECK(call("net.json").out == swept.out);
  cli.write("net.yml", network + "bandwidth: [ 2 ]\n");
  auto const refused = call("net.yml");
  CHECK(refused.exit_code == 2);
  CHECK(contains(refused.err, "net.yml: line 5: key \"bandwidth\" was on line 3 already"));
}

TEST_CASE("ranges and constants that cannot be are refused") {
  CliRunner const cli;
  make_plans(cli);
  auto const refused = [&](std::string const& arguments, char const* text) {
    auto const result = cli.run("sweep a.json --cluster box.json " + arguments);
    CAPTURE(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code == 2);
    CHECK(contains(result.err, text));
  };
  refused("--vary gpu_gb_per_s", "no '='");
  refused("--vary gpu_gb_per_s=1", "no '..'");
  refused("--vary gpu_gb_per_s=1..2", "no ':'");
  refused("--vary gpu_gb_per_s=2..1:3", "2 is not below 1");
  refused("--vary gpu_gb_per_s=1..2:1", "vary");
  refused("--vary gpu_gb_per_s=x..2:3", "vary");
  refused("--vary latency_us=1..2:3", "several constants are called so: use one of intra_node.latency_us");
  refused("--vary speed=1..2:3", "a cluster has no such constant: use one of intra_node.gpu_gb_per_s");
  refused("--vary gpu_gb_per_s=0..2:3", "intra_node.gpu_gb_per_s is 0 GB/s");
  refused("--vary intra_node.latency_us=0..2:3 --scale log", "starts above 0");
  refused("b.json a.json --vary gpu_gb_per_s=1..2:3", "3 plans");
}
