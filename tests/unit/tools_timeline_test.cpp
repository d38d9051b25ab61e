// SPDX-License-Identifier: Apache-2.0
// `switchyard trace`, `simulate --trace` and `compare` as a user runs them.
//
// Worked example of a verdict that turns, on a node with ports of 2 GB/s and pairs of 1 GB/s: A sends 12,000 bytes from
// rank 0 to rank 1, 12 us by the pair; B 5,000 to each of four ranks, 20,000 bytes through rank 0's port, 10 us. There
// and back A takes 24 us, B 20: B is ahead by 16.7 %. With ports 20 % narrower B takes 25 us and A, still bound by its
// pair, 24: A is ahead by 4.0 %.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;

namespace {

void make_group(CliRunner const& cli, std::string const& name, int ranks, int tokens) {
  std::string const size = std::to_string(ranks);
  REQUIRE(cli.run("generate routing --preset log-normal --ranks " + size + " --experts 64 --topk 4 --tokens " +
                  std::to_string(tokens) + " --seed 3 --out " + name + "_routing.jsonl")
              .exit_code == 0);
  REQUIRE(
      cli.run("dispatch --routing " + name + "_routing.jsonl --ep " + size + " --family flex --out " + name + ".jsonl")
          .exit_code == 0);
}

/// Two layers of as many experts as make_group()'s, the first hot in one, the last in the other.
void make_move(CliRunner const& cli) {
  std::string first = "40", second = "1";
  for (int expert = 1; expert < 64; ++expert) {
    first += ", 1";
    second += expert < 63 ? ", 1" : ", 40";
  }
  cli.write("load.json", "{\"logical_count\": [[" + first + "], [" + second + "]]}");
  REQUIRE(
      cli.run("plan --load load.json --experts 64 --gpus 4 --slots 68 --policy deepseek --out move.json").exit_code ==
      0);
}

/// One node of `gpus`, ports of `port` GB/s, pairs of `pair`.
std::string box(int gpus, double port, double pair) {
  return R"({"format": "switchyard-topology", "schema_version": 1, "name": "box", "nodes": 1, "gpus_per_node": )" +
         std::to_string(gpus) + R"(, "intra_node": {"fabric": "nvswitch", "gpu_gb_per_s": )" + std::to_string(port) +
         R"(, "peer_gb_per_s": )" + std::to_string(pair) + R"(, "latency_us": 0, "message_us": 0}})";
}

/// What an independent reader finds wrong with a trace: every event well formed, no track with events that overlap or
/// go backwards, every process and track named.
constexpr char kReader[] = R"(
import json, sys
trace = json.load(open(sys.argv[1], encoding="utf-8"))
names, tracks, ends, arrows, slices = set(), {}, {}, {}, 0
for event in trace["traceEvents"]:
    kind, pid, tid = event["ph"], event["pid"], event["tid"]
    assert kind in "MXCsf", event
    if kind == "M":
        if event["name"].endswith("_name"): names.add((event["name"], pid, tid if "thread" in event["name"] else 0))
        continue
    assert event["ts"] >= 0 and isinstance(event["name"], str) and event["name"], event
    if kind == "X":
        slices += 1
        assert event["dur"] > 0, event
        start, end = round(event["ts"] * 1000), round((event["ts"] + event["dur"]) * 1000)
        assert start >= ends.get((pid, tid), 0), event
        ends[pid, tid] = end
    if kind == "C":
        assert 0 <= event["args"]["share"] <= 1.000001, event
        assert event["ts"] >= tracks.get((pid, tid), 0), event
        tracks[pid, tid] = event["ts"]
    if kind in "sf": arrows.setdefault(event["id"], []).append((kind, event["ts"]))
for pid, tid in ends:
    assert ("process_name", pid, 0) in names and ("thread_name", pid, tid) in names, (pid, tid)
for ends_of_arrow in arrows.values():
    assert [kind for kind, _ in ends_of_arrow] == ["s", "f"] and ends_of_arrow[0][1] <= ends_of_arrow[1][1]
print(slices, "slices on", len(ends), "tracks")
)";

std::string read_trace(CliRunner const& cli, std::string const& file) {
  cli.write("reader.py", kReader);
  std::string const command = "cd '" + cli.work().string() + "' && python3 reader.py " + file + " > read.txt 2>&1";
  int const status = std::system(command.c_str());
  CHECK(status == 0);
  return cli.read("read.txt");
}

bool has_python() {
  return std::system("python3 -c 'import json' > /dev/null 2>&1") == 0;
}

}  // namespace

TEST_CASE("a timeline of two batches with a rebalance behind it; its file stands up to another reader") {
  CliRunner const cli;
  make_group(cli, "group", 4, 64);
  make_move(cli);
  std::string const call =
      "trace group.jsonl --cluster dgx-h100 --layers 3 --batches 2 --attention-us 40 --shared-expert-us 9 --sm-share "
      "0.1 "
      "--move move.json --expert-bytes 1000000";
  auto const result = cli.run(call + " --out trace.json --html page.html");
  CAPTURE(result.err);
  CAPTURE(result.out);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(result.out, "moves: 2 of 2 committed"));
  CHECK(contains(result.out, "one after the other"));
  CHECK(contains(result.out, "critical path"));
  CHECK(contains(cli.read("page.html"), "<h2>Streams</h2>"));
  CHECK_FALSE(contains(cli.read("page.html"), "<script"));
  if (has_python()) {
    auto const read = read_trace(cli, "trace.json");
    CAPTURE(read);
    CHECK(contains(read, "slices on 14 tracks"));  // 4 ranks x 3 streams, gpu_out and gpu_in
  } else {
    MESSAGE("skipped: no python3 to read the trace with");
  }
  std::string const first = cli.read("trace.json");
  REQUIRE(cli.run(call + " --out trace.json").exit_code == 0);
  CHECK(cli.read("trace.json") == first);
  auto const csv = cli.run(call + " --format csv");
  CHECK(
      contains(csv.out, "rank,stream,task,kind,start_us,end_us\r\n0,\"compute\",\"attention layer 0 batch 0 step 0\""));
  CHECK(contains(cli.run(call + " --format json").out, "\"moves_committed\": 2"));
  CHECK(contains(cli.run(call + " --sensitivity").out, "  attention_us  "));
}

TEST_CASE("what simulate times can be looked at, whatever a file is called") {
  CliRunner const cli;
  make_group(cli, "group", 8, 32);
  make_move(cli);
  std::string const odd = "a<b>&\"q\".jsonl";
  std::filesystem::rename(cli.work() / "group.jsonl", cli.work() / odd);
  auto const result =
      cli.run("simulate 'a<b>&\"q\".jsonl' --cluster dgx-h100 --no-sensitivity --trace t.json --html p.html");
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(cli.read("t.json"), R"("name":"a<b>&\"q\".jsonl")"));
  CHECK(contains(cli.read("p.html"), "a&lt;b&gt;&amp;&quot;q&quot;.jsonl"));
  CHECK_FALSE(contains(cli.read("p.html"), "a<b>"));
  if (has_python()) CHECK(contains(read_trace(cli, "t.json"), "slices on 10 tracks"));
  REQUIRE(cli.run("simulate move.json --cluster dgx-h100 --trace t.json").exit_code == 0);
  CHECK(contains(cli.read("t.json"), "\"name\":\"move layer 1\""));
  CHECK(contains(cli.run("simulate move.json --cluster dgx-h100 --format csv").out, "phase,flows,bytes"));
}

TEST_CASE("a routing is timed without a plan, with tokens counted once per rank or node") {
  CliRunner const cli;
  make_group(cli, "group", 16, 64);
  auto const bytes = [&](std::string const& options) {
    auto const result = cli.run("simulate group_routing.jsonl --ranks 16 --cluster dgx-h100 --format json " + options);
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    auto const at = result.out.find("\"bytes\": ");
    return std::stoll(result.out.substr(at + 9));
  };
  CHECK(bytes("--dedup none") == 16LL * 64 * 4 * 14336);
  CHECK(bytes("--dedup per_rank") < bytes(""));
  CHECK(bytes("--dedup per_node") < bytes("--dedup per_rank"));
  CHECK(cli.run("trace group_routing.jsonl --ranks 16 --cluster dgx-h100 --dedup per_node").exit_code == 0);
  CHECK(contains(cli.run("simulate group_routing.jsonl --cluster dgx-h100").err, "--ranks"));
  CHECK(
      contains(cli.run("simulate group.jsonl --ranks 16 --cluster dgx-h100").err, "--ranks is for routing recordings"));
}

TEST_CASE("compare names the constant that would turn its verdict") {
  CliRunner const cli;
  cli.write("box.json", box(5, 2, 1));
  auto const routing = [&](std::string const& name, std::vector<std::pair<int, int>> const& rows) {
    // Rank 0 holds all tokens that go anywhere; expert e lies on rank e.
    std::string text = "{\"type\": \"meta\", \"num_experts\": 5, \"top_k\": 1}\n";
    int token = 0;
    auto const add = [&](int expert) {
      text += "{\"type\": \"route\", \"req_id\": \"r\", \"token_idx\": " + std::to_string(token++) +
              ", \"layer\": 0, \"topk_ids\": [" + std::to_string(expert) + "], \"topk_weights\": [1]}\n";
    };
    for (auto const& [expert, count] : rows)
      for (int i = 0; i < count; ++i) add(expert);
    int const dealt = token;
    for (int rank = 1; rank < 5; ++rank)
      for (int i = 0; i < dealt; ++i) add(rank);  // to themselves
    cli.write(name, text);
  };
  routing("a.jsonl", {{1, 12}, {0, 8}});
  routing("b.jsonl", {{1, 5}, {2, 5}, {3, 5}, {4, 5}});
  std::string const call = "compare a.jsonl b.jsonl --ranks 5 --cluster box.json --row-bytes 1000";
  auto const result = cli.run(call);
  CAPTURE(result.err);
  CAPTURE(result.out);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(result.out, "B is faster, by 16.7 %"));
  CHECK(contains(result.out, "the verdict depends on"));
  CHECK(contains(result.out, "intra_node.gpu_gb_per_s            -20 %: A by 4.0 %"));
  auto const json = cli.run(call + " --format json").out;
  CHECK(contains(json, "\"verdict\": \"B\""));
  CHECK(contains(json, "\"verdict_depends_on\": [\n    \"intra_node.gpu_gb_per_s\""));
  CHECK_FALSE(contains(cli.run(call + " --no-sensitivity").out, "depends on"));
}

TEST_CASE("clusters that cannot be and plans of another world are refused by every command that times") {
  CliRunner const cli;
  make_group(cli, "group", 4, 16);
  make_group(cli, "wide", 8, 16);
  make_move(cli);
  cli.write("zero.json", box(8, 0, 0));
  cli.write("narrow.json", box(2, 2, 1));
  std::string lagging = box(8, 2, 1), apart = box(4, 2, 1), endless = box(8, 2, 1);
  lagging.replace(lagging.find("\"latency_us\": 0"), 15, "\"latency_us\": -1");
  apart.replace(apart.find("\"nodes\": 1"), 10, "\"nodes\": 2");
  endless.replace(endless.find("\"latency_us\": 0"), 15, "\"latency_us\": 1e999");
  cli.write("lagging.json", lagging);
  cli.write("apart.json", apart);
  cli.write("endless.json", endless);
  auto const refused = [&](std::string const& call, char const* text) {
    auto const result = cli.run(call);
    CAPTURE(call);
    CAPTURE(result.err);
    CHECK(result.exit_code == 2);
    CHECK(contains(result.err, text));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    CHECK(result.out.empty());
    CHECK_FALSE(cli.exists("t.json"));
  };
  for (std::string const& call :
       {std::string("simulate group.jsonl --trace t.json"), std::string("trace group.jsonl --out t.json"),
        std::string("compare group.jsonl group.jsonl")}) {
    refused(call + " --cluster zero.json", "gpu_gb_per_s");
    refused(call + " --cluster lagging.json", "latency_us");
    refused(call + " --cluster endless.json", "endless.json");
    refused(call + " --cluster apart.json", "nodes");
    refused(call + " --cluster narrow.json", "is of 4 ranks, the cluster \"box\" has 2");
    refused(call + " --cluster none.json", "is no preset");
  }
  refused("compare group.jsonl wide.jsonl --cluster dgx-h100", "worlds of 4 and 8 ranks");
  refused("compare group.jsonl move.json --cluster dgx-h100", "do not compare");
  refused("trace group.jsonl wide.jsonl --cluster dgx-h100", "4 and 8 ranks do not fit on one timeline");
  refused("trace wide.jsonl --move move.json --cluster dgx-h100", "--move move.json is of 4 ranks, the dispatch of 8");
  refused("trace group.jsonl --move group.jsonl --cluster dgx-h100", "is the plan of a dispatch");
  refused("trace move.json --move move.json --cluster dgx-h100", "alone");
  refused("trace group.jsonl --attention-us -1 --cluster dgx-h100", "attention-us");
  refused("trace group.jsonl --layers 0 --cluster dgx-h100", "layers");
  refused("trace group.jsonl --steps 4096 --layers 4096 --batches 64 --cluster dgx-h100", "take fewer");
}

TEST_CASE("experts depend on the SMs of the cluster and on those that communication leaves") {
  CliRunner const cli;
  make_group(cli, "group", 4, 64);
  std::string exchanges =
      "system,framework,version,device,op_name,kernel_source,nccl_dtype,num_gpus,message_size,latency\n";
  for (int bytes = 1000; bytes <= 64000000; bytes *= 4)
    exchanges += "box,F,1,NVIDIA H200,alltoall,NCCL,int8,4," + std::to_string(bytes) + "," +
                 std::to_string(0.01 + bytes / 1e8) + "\n";
  // 5 us + active * (2 + rows / 10): arithmetic from 20 rows on; the group's experts have 16 each on average.
  std::string experts =
      "framework,version,device,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,"
      "distribution,latency\n";
  for (int ep = 1; ep <= 8; ep *= 2)
    for (int tokens = 4; tokens <= 512; tokens *= 2)
      experts += "F,1,NVIDIA H200,bf16," + std::to_string(tokens) + ",64,64,2,8,1," + std::to_string(ep) +
                 ",balanced," + std::to_string((5 + 8.0 / ep * (2 + tokens * 2 / 8 / 10.0)) / 1000) + "\n";
  cli.write("exchanges.csv", exchanges);
  cli.write("experts.csv", experts);
  REQUIRE(cli.run("calibrate exchanges.csv experts.csv --out costs.json").exit_code == 0);
  CHECK(contains(cli.read("costs.json"), "\"sms\": 132.0"));
  std::string const with =
      " group.jsonl --cluster dgx-h200 --costs costs.json --expert-kernel 'bf16 64x64 top-2 of 8 tp=1' ";
  auto const swept = cli.run("sweep" + with + "--vary sms_per_gpu=33..132:2 --format csv");
  CAPTURE(swept.err);
  CAPTURE(swept.out);
  REQUIRE(swept.exit_code == 0);
  auto const us_at = [&](std::string const& line_start) {
    auto const at = swept.out.find("\n" + line_start + ",");
    REQUIRE(at != std::string::npos);
    return std::stod(swept.out.substr(at + line_start.size() + 2));
  };
  CHECK(us_at("33") > us_at("132") + 1);
  auto const share = cli.run("trace" + with + "--sm-share 0.25 --batches 2 --sensitivity");
  CAPTURE(share.err);
  CAPTURE(share.out);
  REQUIRE(share.exit_code == 0);
  CHECK(contains(share.out, "  sms_per_gpu  "));
  CHECK(contains(cli.run("sweep group.jsonl --cluster dgx-h200 --vary sms_per_gpu=33..132:2").err,
                 "give --costs and --expert-kernel"));
}
