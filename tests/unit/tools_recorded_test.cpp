// SPDX-License-Identifier: Apache-2.0
// Recordings of a dispatcher on a timeline, and timelines whose layers change to the map of a rebalance.
//
// Worked example: two ranks, ports of 1 GB/s (1,000 bytes per us), rows of 1,000 bytes, experts take 1 us per row, four
// experts. Layer 0: rank 0's four tokens chose expert 2, rank 1's four chose expert 3, both on rank 1 in contiguous
// blocks: dispatch 0-4, experts of rank 1 4-12 (8 rows), combine 12-16. Layer 1: all choices are local, experts 4 us on
// both ranks. A step of both layers takes 20 us.
//
// The rebalance gives rank 0 experts 2 and 0, rank 1 experts 3 and 1: one expert of 2,000 bytes moves each way, and
// every rank copies two rows at commit, 1 us at 4 GB/s. Layer 0 alone: rank 0's move and its dispatch halve the port
// till 4, where the move ends with 2,000 bytes of the dispatch left: dispatch till 6, experts 6-14, combine 14-18. Rank
// 0, which computes nothing, looks at 6 and commits till 7, rank 1 14-15. The first step takes 18 us, 2 more than
// without moves. On the new map all choices are local: 4 us, 12 less, so the move has paid after one step.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;

namespace {

constexpr char kTimes[] = " --cluster box.json --row-bytes 1000 --row-ns 1000 ";
constexpr char kMove[] = " --move move.json --expert-bytes 2000 --copy-gbs 4 ";

void write_box(CliRunner const& cli) {
  cli.write("box.json",
            R"({"format": "switchyard-topology", "schema_version": 1, "name": "box", "nodes": 1, "gpus_per_node": 2, )"
            R"("intra_node": {"fabric": "nvswitch", "gpu_gb_per_s": 1, "peer_gb_per_s": 1, "latency_us": 0, )"
            R"("message_us": 0}})");
}

/// The expert of every token, rank 0's first, in a layer.
void write_routing(CliRunner const& cli, std::string const& name, int layer, std::vector<int> const& experts) {
  std::string text = "{\"type\": \"meta\", \"num_experts\": 4, \"top_k\": 1}\n";
  for (std::size_t token = 0; token < experts.size(); ++token)
    text += "{\"type\": \"route\", \"req_id\": \"r\", \"token_idx\": " + std::to_string(token) +
            ", \"layer\": " + std::to_string(layer) + ", \"topk_ids\": [" + std::to_string(experts[token]) +
            "], \"topk_weights\": [1]}\n";
  cli.write(name, text);
}

/// Writes layer0.jsonl and layer1.jsonl (routings), group0.jsonl (plans), record0.jsonl and record1.jsonl.
void write_layers(CliRunner const& cli, std::string const& family = "alltoall") {
  write_box(cli);
  write_routing(cli, "layer0.jsonl", 0, {2, 2, 2, 2, 3, 3, 3, 3});
  write_routing(cli, "layer1.jsonl", 1, {1, 1, 1, 1, 2, 2, 3, 3});
  for (std::string const layer : {"0", "1"})
    REQUIRE(cli.run("dispatch --routing layer" + layer + ".jsonl --layer " + layer + " --ep 2 --family " + family +
                    " --out group" + layer + ".jsonl --record record" + layer + ".jsonl")
                .exit_code == 0);
}

void write_move(CliRunner const& cli) {
  cli.write("load.json", R"({"logical_count": [[0, 0, 4, 4]]})");
  auto const made = cli.run("plan --load load.json --experts 4 --gpus 2 --slots 4 --policy deepseek --out move.json");
  CAPTURE(made.err);
  REQUIRE(made.exit_code == 0);
}

void write_steps(CliRunner const& cli) {
  std::string const step = cli.read("record0.jsonl") + cli.read("record1.jsonl");
  cli.write("steps.jsonl", step + step);
}

}  // namespace

TEST_CASE("recorded layers and steps are timed as they were called") {
  CliRunner const cli;
  write_layers(cli);
  write_steps(cli);
  auto const traced = cli.run(std::string("trace steps.jsonl") + kTimes);
  CAPTURE(traced.err);
  CAPTURE(traced.out);
  REQUIRE(traced.exit_code == 0);
  CHECK(contains(traced.out, "2 steps of 2 layers and 1 batch on 2 ranks"));
  CHECK(contains(traced.out, "total      40.0 us"));
  auto const longer = cli.run(std::string("trace steps.jsonl --steps 3") + kTimes);
  CHECK(contains(longer.out, "total      60.0 us"));
  auto const timed = cli.run("simulate steps.jsonl --cluster box.json --row-bytes 1000 --no-sensitivity --format csv");
  CAPTURE(timed.err);
  REQUIRE(timed.exit_code == 0);
  CHECK(contains(timed.out, "dispatch: exchange (step 0 layer 0)\","));
  CHECK(contains(timed.out, "combine: exchange (step 1 layer 1)\","));
  auto const table = cli.run("simulate steps.jsonl --cluster box.json --row-bytes 1000 --no-sensitivity");
  CHECK(contains(table.out, "total      16.0 us"));  // 4 us there and back in layer 0, twice
  REQUIRE(cli.run("simulate steps.jsonl --cluster box.json --trace t.json --html p.html").exit_code == 0);
  CHECK(contains(cli.read("t.json"), "dispatch layer 2"));  // calls follow each other like layers
}

TEST_CASE("one file per rank, or calls without layer numbers") {
  CliRunner const cli;
  write_layers(cli);
  std::string const both = cli.read("record0.jsonl");
  auto const cut = both.find('\n') + 1;
  cli.write("rank0.jsonl", both.substr(0, cut));
  cli.write("rank1.jsonl", both.substr(cut));
  auto const traced = cli.run(std::string("trace rank1.jsonl rank0.jsonl") + kTimes);
  CAPTURE(traced.err);
  REQUIRE(traced.exit_code == 0);
  CHECK(contains(traced.out, "rank1.jsonl and 1 more"));
  CHECK(contains(traced.out, "total      16.0 us"));
  cli.write("four.jsonl", both + both + both + both);
  CHECK(contains(cli.run(std::string("trace four.jsonl") + kTimes).out, "4 steps of 1 layer and 1 batch"));
  CHECK(contains(cli.run(std::string("trace four.jsonl --layers 2 --batches 2") + kTimes).out,
                 "1 step of 2 layers and 2 batches"));
}

TEST_CASE("recordings that cannot be are refused by name") {
  CliRunner const cli;
  write_layers(cli);
  write_move(cli);
  write_steps(cli);
  std::string const first = cli.read("record0.jsonl"), second = cli.read("record1.jsonl");
  auto const refused = [&](std::string const& content, char const* text) {
    cli.write("bad.jsonl", content);
    for (char const* command : {"trace", "simulate"}) {
      auto const result = cli.run(std::string(command) + " bad.jsonl --cluster box.json");
      CAPTURE(command);
      CAPTURE(result.err);
      CHECK(result.exit_code == 2);
      CHECK(contains(result.err, text));
      CHECK(result.out.empty());
    }
  };
  refused(first + second + first, "3 dispatches are no whole steps of 2 layers");
  refused(first + second + second + first, "dispatch 2 (counted from 0) is of layer 1");
  refused(first.substr(0, first.find('\n') + 1), "rank 0 records 1 dispatches, rank 1 0");
  refused(first + second.substr(0, second.size() - 20), "bad.jsonl");
  refused(first + second.substr(0, second.size() - 20), "line 4");
  std::string wrong = second;
  auto const splits = wrong.find("\"input_splits\":[");
  REQUIRE(splits != std::string::npos);
  wrong[splits + 16] = '7';
  refused(first + wrong, "dispatch 1 of bad.jsonl, step 0 layer 1: rank 0 records input_splits[0] as 7");
  std::string unknown = first;
  unknown.insert(unknown.find("\"ep\""), "\"pe\": 1, ");
  refused(unknown, "line 1");
  auto const usage = [&](std::string const& call, char const* text) {
    auto const result = cli.run(call);
    CAPTURE(result.err);
    CHECK(result.exit_code == 2);
    CHECK(contains(result.err, text));
  };
  usage(std::string("trace steps.jsonl --layers 3") + kTimes, "--layers 3: the recording has 2");
  usage(std::string("trace steps.jsonl group0.jsonl") + kTimes, "not of one kind");
  usage(std::string("trace group0.jsonl steps.jsonl") + kTimes, "not of one kind");
  usage("trace steps.jsonl --ranks 2 --cluster box.json", "the recording of a dispatcher");
}

TEST_CASE("after a commit the new map is served: routing, plans and recordings alike") {
  for (std::string const family : {"alltoall", "flex", "allgather", "megablocks"}) {
    CAPTURE(family);
    CliRunner const cli;
    write_layers(cli, family);
    write_move(cli);
    std::vector<std::string> inputs{"group0.jsonl", "record0.jsonl"};
    if (family == "flex") inputs.push_back("layer0.jsonl --ranks 2");
    for (std::string const& input : inputs) {
      CAPTURE(input);
      auto const result = cli.run("trace " + input + kTimes + kMove);
      CAPTURE(result.err);
      CAPTURE(result.out);
      REQUIRE(result.exit_code == 0);
      CHECK(contains(result.out, "moves: 1 of 1 committed within 2 steps"));
      if (family == "allgather") continue;  // all tokens go everywhere on any map
      CHECK(contains(result.out,
                     "a step: 16.0 us on the old map, 18.0 us while moving (1 step), 4.0 us on the new map "
                     "(-75.0 %)"));
      CHECK(contains(result.out, "moving cost 2.0 us in all, made good after 1 step on the new map"));
      CHECK(contains(result.out, "total      22.0 us"));
    }
  }
}

TEST_CASE("what moves bring is in the JSON and on the page; traffic can be kept") {
  CliRunner const cli;
  write_layers(cli);
  write_move(cli);
  std::string const call = std::string("trace group0.jsonl") + kTimes + kMove;
  auto const json = cli.run(call + "--format json --html page.html");
  REQUIRE(json.exit_code == 0);
  CHECK(contains(json.out, "\"old_map_step_us\": 16.0"));
  CHECK(contains(json.out, "\"moving_cost_us\": 2.0"));
  CHECK(contains(json.out, "\"pays_after_steps\": 1.0"));
  CHECK(contains(json.out, "\"committed\": \"layer 0\""));
  CHECK(contains(cli.read("page.html"), "a step on the old map"));
  auto const kept = cli.run(call + "--keep-traffic");
  CAPTURE(kept.out);
  CHECK(contains(kept.out, "total      34.0 us"));  // 18, then 16 as before
  CHECK_FALSE(contains(kept.out, "on the new map"));
  // Serially: the moves take 2 us, the commit 1, then two steps of the new map.
  CHECK(contains(cli.run(call + "--no-overlap --steps 2").out, "total      11.0 us"));
  // Plans whose slots nobody knows, and other models.
  write_routing(cli, "other.jsonl", 0, {1, 1, 2, 3});
  cli.write("swapped.json", R"({"physical_to_logical_map": [[3, 1, 2, 0]]})");
  auto const swapped = cli.run("dispatch --routing other.jsonl --ep 2 --placement swapped.json --out swapped.jsonl");
  CAPTURE(swapped.err);
  if (swapped.exit_code == 0)
    CHECK(contains(cli.run(std::string("trace swapped.jsonl") + kTimes + kMove).err,
                   "does not say which experts its slots hold"));
  REQUIRE(cli.run("generate routing --preset uniform --ranks 2 --experts 8 --topk 2 --tokens 8 --out eight.jsonl")
              .exit_code == 0);
  CHECK(contains(cli.run(std::string("trace eight.jsonl --ranks 2") + kTimes + kMove).err,
                 "is of 8 experts, --move of 4"));
  CHECK(contains(cli.run(std::string("trace layer0.jsonl --ranks 2 --placement move.json") + kTimes + kMove).err,
                 "--placement beside --move"));
}
