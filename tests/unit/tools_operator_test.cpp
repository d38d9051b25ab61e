// SPDX-License-Identifier: Apache-2.0
// convert, diff, schedule, backtest and the questions of plan, as an operator asks them.
//
// Worked example: loads 4, 2, 1, 1 on 2 GPUs with 2 slots. Slot i = expert i puts 6 of 8 on GPU 0 (PAR 1.5); the best
// pairing is {0,1 or 2} and the rest: 5 and 3 (PAR 1.25). One exchange of two experts reaches it: 2 fetches.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;

namespace {

constexpr char kLoad[] = R"({"schema_version": 1, "expert_load": [[4, 2, 1, 1]]})";
std::string const kPlan = "plan --load load.json --experts 4 --gpus 2 --slots 4 ";

std::string refusal(CliRunner const& cli, std::string const& arguments) {
  long const before = cli.entries();
  auto const result = cli.run(arguments);
  CAPTURE(arguments);
  CAPTURE(result.err);
  CHECK(result.exit_code == 2);
  CHECK(result.out.empty());
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK(cli.entries() == before);
  return result.err;
}

std::string ok(CliRunner const& cli, std::string const& arguments) {
  auto const result = cli.run(arguments);
  CAPTURE(arguments);
  CAPTURE(result.err);
  CHECK(result.exit_code == 0);
  CHECK(result.err.empty());
  return result.out;
}

}  // namespace

TEST_CASE("convert: a load goes through every format and comes back the same") {
  CliRunner const cli;
  cli.write("load.json", kLoad);
  (void)ok(cli, "convert load.json --to json --out start.json");
  std::string from = "start.json";
  for (std::string const format : {"csv", "npy", "vllm-stats", "trtllm-stats", "sglang-json", "json"}) {
    std::string const to = "load." + format;
    CHECK(contains(ok(cli, "convert " + from + " --to " + format + " --out " + to), "1 x 1 x 4"));
    from = to;
  }
  CHECK(cli.read(from) == cli.read("start.json"));
  CHECK(contains(ok(cli, "convert start.json start.json --to json --out twice.json"), "start.json, start.json"));
  CHECK(contains(cli.read("twice.json"), "[8,4,2,2]"));
  CHECK(contains(refusal(cli, "convert start.json --to jsn --out x"), "did you mean 'json'?"));
  CHECK(contains(refusal(cli, "convert start.json --to csv --from npy --out x"), "is json, --from says npy"));
  CHECK(contains(refusal(cli, "convert start.json --to ascend --out x"), "start.json"));
  cli.write("other.csv", "1,2,3\n");
  CHECK(contains(refusal(cli, "convert start.json other.csv --to csv --out x"), "other.csv has 1 x 1 x 3"));
  CHECK(contains(refusal(cli, "convert none.pt --to csv --out x"), "none.pt"));
}

TEST_CASE("convert: a plan becomes every placement format, and a routing a trace") {
  CliRunner const cli;
  cli.write("load.json", kLoad);
  (void)ok(cli, kPlan + "--out plan.json");
  std::string from = "plan.json";
  for (std::string const format : {"switchyard", "ascend", "trtllm-yaml", "vllm-map", "vllm-state", "deployment-npy",
                                   "sglang-map", "switchyard"}) {
    std::string const to = "p." + format;
    (void)ok(cli, "convert " + from + " --to " + format + " --gpus 2 --experts 4 --first-layer 3 --out " + to);
    CHECK(contains(ok(cli, "diff plan.json " + to + " --gpus 2 --experts 4"), "moves      0 experts"));
    from = to;
  }
  CHECK(contains(refusal(cli, "convert p.trtllm-yaml --to ascend --out x"), "give the number of GPUs"));
  CHECK(contains(refusal(cli, "convert plan.json p.ascend --to ascend --out x"), "give one file"));
  (void)ok(cli, "generate routing --preset log-normal --ranks 1 --experts 16 --topk 2 --tokens 5 --out r.jsonl");
  (void)ok(cli, "convert r.jsonl --to megatron-trace --out trace.jsonl");
  (void)ok(cli, "convert r.jsonl --to json --experts 16 --out a.json");
  (void)ok(cli, "convert trace.jsonl --to json --experts 16 --out b.json");
  CHECK(cli.read("a.json") == cli.read("b.json"));
}

TEST_CASE("diff: moves, links and balance of the worked example") {
  CliRunner const cli;
  cli.write("load.json", kLoad);
  cli.write("old.json", R"({"physical_to_logical_map": [[0, 1, 2, 3]]})");
  cli.write("new.json", R"({"physical_to_logical_map": [[0, 2, 1, 3]]})");
  std::string const text = ok(cli, "diff old.json new.json --gpus 2 --load load.json --expert-bytes 1024");
  CHECK(contains(text, "PAR        1.5000 -> 1.2500"));
  CHECK(contains(text, "moves      2 experts over links (2.0 KiB)"));
  CHECK(contains(text, "GPU 0 -> GPU 1: 1 experts (1.0 KiB)"));
  CHECK(contains(ok(cli, "diff old.json new.json --gpus 2 --nodes 2 --format json"), "\"fetches_between_nodes\": 2"));
  cli.write("wide.json", R"({"physical_to_logical_map": [[0, 1, 2, 3, 0, 1]]})");
  CHECK(contains(refusal(cli, "diff old.json wide.json --gpus 2"), "give two placements of one cluster"));
}

TEST_CASE("plan: every policy, bounds, horizon, explanation") {
  CliRunner const cli;
  cli.write("load.json", kLoad);
  std::string const all = ok(cli, kPlan + "--policy all --bounds full --horizon 1000000 --explain 0:0,0:1");
  CHECK(contains(all, "lowest mean PAR"));
  CHECK(contains(all, "after 1.250"));
  CHECK(contains(all, "max-flow"));
  CHECK(contains(all, "against round-robin"));
  CHECK(contains(all, "expert 0 of layer 0: load 4, the 1. hottest of 4"));
  CHECK(contains(all, "wrote      nothing"));
  CHECK(cli.entries() == 1);
  CHECK(contains(ok(cli, kPlan + "--horizon 0.001"), "verdict    skip"));
  std::string const json = ok(cli, kPlan + "--policy all --horizon 5 --format json");
  CHECK(contains(json, "\"policies\""));
  CHECK(contains(json, "\"break_even_windows\""));
  CHECK(contains(refusal(cli, kPlan + "--explain 0:9"), "--explain is '9': give an integer in [0, 3]"));
  CHECK(contains(refusal(cli, kPlan + "--explain 0"), "give LAYER:EXPERT"));
}

TEST_CASE("plan: few moves, and the trade-off") {
  CliRunner const cli;
  cli.write("load.json", kLoad);
  CHECK(contains(ok(cli, kPlan + "--policy incremental --max-moves 0"), "moves      0 over the network"));
  CHECK(contains(ok(cli, kPlan + "--policy incremental --max-moves 2 --pareto"), "trade-off: fetches"));
  CHECK(contains(refusal(cli, kPlan + "--max-moves 2"), "--max-moves is kept by --policy incremental only"));
  // Expert 0 stands twice on GPU 0, which serves nobody: it goes, unless moves are not allowed or it is asked to stay.
  cli.write("twice.json", R"({"physical_to_logical_map": [[0, 0, 1, 2, 3, 1]]})");
  std::string const six =
      "plan --load load.json --experts 4 --gpus 2 --slots 6 --current twice.json "
      "--policy incremental ";
  CHECK(contains(ok(cli, six), "duplicates 1 slots repeated an expert on their GPU, 0 still do"));
  CHECK(contains(ok(cli, six + "--max-moves 0"), "1 still do: 1 over a limit on moves"));
  CHECK(contains(ok(cli, six + "--max-moves 0 --keep-duplicates --format json"), "\"asked\": 1"));
}

TEST_CASE("plan: dead, slow and uneven GPUs; joining and leaving") {
  CliRunner const cli;
  cli.write("load.json", kLoad);
  std::string const three = "plan --load load.json --experts 4 --gpus 3 --slots 6 --policy balanced ";
  (void)ok(cli, three + "--out six.json");
  CHECK(contains(ok(cli, three + "--current six.json --dead 2 --out dead.json"), "GPUs, 6 slots"));
  (void)ok(cli, "plan --load load.json --experts 4 --gpus 2 --slots-per-gpu 3,1 --policy balanced --out uneven.json");
  CHECK(contains(ok(cli, kPlan + "--policy balanced --speeds 3,1"), "after 1."));
  CHECK(contains(refusal(cli, kPlan + "--policy deepseek --speeds 3,1"), "rank_speeds"));
  (void)ok(cli, kPlan + "--out four.json");
  std::string const up = "plan --load load.json --experts 4 --gpus 3 --slots 6 --current four.json ";
  CHECK(contains(refusal(cli, up + "--current-gpus 2"), "give --scale up"));
  (void)ok(cli, up + "--scale up --out up.json");
  CHECK(contains(ok(cli, "verify up.json"), "up.json: ok"));
  std::string const down = kPlan + "--current up.json --scale down --leave 0 --out down.json";
  (void)ok(cli, down);
  CHECK(contains(ok(cli, "verify down.json"), "down.json: ok"));
  CHECK(contains(refusal(cli, kPlan + "--current up.json --scale down --leave 0,1"), "--leave names 2 GPUs"));
  // A leaving GPU that is dead sends nothing: what only it held is reloaded, and the plan still proves itself.
  auto const lost = ok(cli, down.substr(0, down.find(" --out")) + " --lost 0 --out lost.json");
  CHECK(contains(lost, "slots from the checkpoint"));
  CHECK(contains(ok(cli, "verify lost.json"), "lost.json: ok"));
  CHECK(contains(refusal(cli, kPlan + "--current up.json --scale down --leave 0 --lost 1"), "GPU 1, which stays"));
  CHECK(contains(refusal(cli, kPlan + "--current four.json --lost 0"), "it needs --scale down"));
  (void)ok(cli, up + "--scale up --dead 1 --policy balanced --out dead_up.json");
  CHECK(contains(ok(cli, "verify dead_up.json"), "dead_up.json: ok"));
  CHECK(contains(refusal(cli, kPlan + "--scale up"), "--scale needs --current"));
  CHECK(contains(refusal(cli, kPlan + "--dead 0,0"), "name every GPU once"));
  CHECK(contains(refusal(cli, "plan --load load.json --experts 4 --gpus 2"), "--slots is missing"));
  CHECK(contains(refusal(cli, kPlan + "--window p101"), "--window"));
}

TEST_CASE("plan --sweep: one row per size, refusals in their place") {
  CliRunner const cli;
  cli.write("load.json", kLoad);
  std::string const table =
      ok(cli, "plan --load load.json --experts 4 --sweep slots=4..8,gpus=2,4 --expert-bytes 1024");
  CHECK(contains(table, "memory per GPU"));
  CHECK(contains(table, "2         4    1.2500       1.2500"));
  CHECK(contains(table, "2.0 KiB"));
  CHECK(std::count(table.begin(), table.end(), '\n') == 6);  // 4, 6, 8 on two GPUs, 4 and 8 on four
  CHECK(contains(ok(cli, "plan --load load.json --experts 4 --gpus 2 --sweep slots=2 "), "refused"));
  CHECK(contains(refusal(cli, "plan --load load.json --experts 4 --sweep gpus=2"), "slots=... is missing"));
  CHECK(contains(refusal(cli, "plan --load load.json --experts 4 --sweep slot=2"), "give slots=... and gpus=..."));
  CHECK(contains(refusal(cli, "plan --load load.json --experts 4 --sweep slots=4,gpus=2 --out x"),
                 "--out has no meaning"));
}

TEST_CASE("schedule: rounds beside their bound, and a file that is a placement") {
  CliRunner const cli;
  cli.write("load.json", kLoad);
  (void)ok(cli, kPlan + "--out plan.json");
  std::string const table = ok(cli, "schedule plan.json --out schedule.json");
  CHECK(contains(table, "no schedule has fewer than 1"));
  CHECK(contains(ok(cli, "schedule plan.json --spare-rows 1 --nodes 2 --format json"), "\"bound_rounds\": 1"));
  CHECK(contains(ok(cli, "diff plan.json schedule.json --gpus 2"), "moves      0 experts"));
  std::string const proof = ok(cli, "verify schedule.json");
  CHECK(contains(proof, "rounds     1 (bound 1), 2 transfers"));
  CHECK(contains(proof, "rehearsal  buffered ok"));
  CHECK(contains(proof, "rehearsal  in_place ok"));
  (void)ok(cli, "schedule plan.json --spare-rows 1 --out tight.json");
  std::string const tight = ok(cli, "verify tight.json");
  CHECK(contains(tight, "in_place ok"));
  std::string damaged = cli.read("schedule.json");
  damaged.replace(damaged.find("\"expert_bytes\": 4"), 17, "\"expert_bytes\": 5");
  cli.write("damaged.json", damaged);
  CHECK(cli.run("verify damaged.json").exit_code == 1);
  CHECK(contains(refusal(cli, "schedule load.json"), "load.json"));
  CHECK(contains(refusal(cli, "schedule plan.json --spare-rows 0"), "--spare-rows is '0'"));
}

TEST_CASE("backtest: every step is served by what was planned before it") {
  CliRunner const cli;
  // Step 0 is served by slot i = expert i (PAR 1.5); later steps, with the same loads, by the best pairing.
  cli.write("trace.json", R"({"schema_version": 1, "expert_load": [[[4, 2, 1, 1]], [[4, 2, 1, 1]], [[4, 2, 1, 1]]]})");
  std::string const run =
      "backtest --load trace.json --experts 4 --gpus 2 --slots 4 --policy balanced --expert-bytes 1024 ";
  std::string const table = ok(cli, run);
  CHECK(contains(table, "mean PAR 1.3333 over the steps; the first placement kept: 1.5000"));
  CHECK(contains(table, "moved      2 experts (2.0 KiB) in 2 rebalances"));
  CHECK(contains(table, "executed   on emulated ranks, 8 rows"));
  CHECK(contains(ok(cli, run + "--every 2 --skip-execution"), "in 1 rebalances"));
  CHECK(contains(ok(cli, run + "--format json"), "\"never_moved_par\": 1.5"));
  cli.write("load.json", kLoad);
  CHECK(contains(refusal(cli, "backtest --load load.json --experts 4 --gpus 2 --slots 4"), "needs loads over time"));
}

TEST_CASE("plan --html: one file, no script, no address, hostile names are escaped") {
  CliRunner const cli;
  std::filesystem::path const file = cli.work() / "<img src=x onerror=alert(1)>&\".json";
  std::ofstream(file) << kLoad;
  std::string const page =
      "plan --load '<img src=x onerror=alert(1)>&\".json' --experts 4 --gpus 2 --slots 4 --html page.html";
  (void)ok(cli, page);
  std::string const text = cli.read("page.html");
  CHECK(contains(text, "&lt;img src=x onerror=alert(1)&gt;&amp;&quot;.json"));
  CHECK_FALSE(contains(text, "<img"));
  CHECK_FALSE(contains(text, "<script"));
  CHECK_FALSE(contains(text, "http://"));
  CHECK_FALSE(contains(text, "https://"));
  CHECK(contains(text, "default-src 'none'"));
  CHECK(std::count(text.begin(), text.end(), '<') == std::count(text.begin(), text.end(), '>'));
  for (char const* part : {"loads before", "loads after", "experts sent from GPU to GPU", "rounds of every layer",
                           "moves against balance"})
    CHECK_MESSAGE(contains(text, part), part);
  std::string const first = text;
  (void)ok(cli, page);
  CHECK(cli.read("page.html") == first);
}
