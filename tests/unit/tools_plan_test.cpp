// SPDX-License-Identifier: Apache-2.0
// `switchyard plan` and `generate` as a user runs them: exit codes, one-line errors, nothing left behind.
//
// Worked example: loads 4, 2, 1, 1 on 2 GPUs with 2 slots each. The trivial map puts experts 0 and 1 on GPU 0: PAR
// 6 / 4 = 1.5. The policy pairs 0 with one of the ones: loads 5 and 3, PAR 1.25, which is no expert's own bound (4 /
// 4).
#include <doctest/doctest.h>

#include <algorithm>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;

namespace {

constexpr char kSmallLoad[] = R"({"schema_version": 1, "expert_load": [[4, 2, 1, 1]]})";
std::string const kSmallPlan = "plan --load load.json --experts 4 --gpus 2 --slots 4 --out plan.json";

/// Runs a command that must be refused, and returns its one line.
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

}  // namespace

TEST_CASE("plan: worked example, table and JSON agree, the file is written once and the same twice") {
  CliRunner const cli;
  cli.write("load.json", kSmallLoad);
  auto const table = cli.run(kSmallPlan + " --policy deepseek");
  CHECK(table.exit_code == 0);
  CHECK(table.err.empty());
  CHECK(contains(table.out, "before 1.500"));
  CHECK(contains(table.out, "after 1.250"));
  auto const plan = cli.read("plan.json");
  CHECK(contains(plan, "\"schema_version\": 1"));
  CHECK(cli.entries() == 2);
  auto const json = cli.run(kSmallPlan + " --format json");
  CHECK(json.exit_code == 0);
  CHECK(contains(json.out, "\"schema_version\": 1"));
  CHECK(contains(json.out, "\"par_before\": 1.5"));
  CHECK(contains(json.out, "\"par_after\": 1.25"));
  CHECK(cli.read("plan.json") == plan);
}

TEST_CASE("plan: the placement of an earlier plan can be the start of the next, and then nothing moves") {
  CliRunner const cli;
  cli.write("load.json", kSmallLoad);
  REQUIRE(cli.run(kSmallPlan).exit_code == 0);
  auto const again =
      cli.run("plan --load load.json --experts 4 --gpus 2 --slots 4 --current plan.json --out 'second plan.json'");
  CHECK(again.err.empty());
  CHECK(again.exit_code == 0);
  CHECK(contains(again.out, "moves      0 over the network"));
  CHECK(cli.exists("second plan.json"));
  cli.write("map.json", R"({"physical_to_logical_map": [[3, 2, 1, 0]]})");
  CHECK(cli.run(kSmallPlan + " --current map.json").exit_code == 0);
  cli.write("hole.json", R"({"physical_to_logical_map": [[3, 2, 1, 1]]})");
  CHECK(contains(refusal(cli, kSmallPlan + " --current hole.json"), "expert_without_slot"));
  cli.write("deep.json", R"({"physical_to_logical_map": [[3, 2, 1, 0], [3, 2, 1, 0]]})");
  CHECK(contains(refusal(cli, kSmallPlan + " --current deep.json"), "places 2 layers"));
}

TEST_CASE("plan: many layers are abbreviated unless asked for") {
  CliRunner const cli;
  REQUIRE(cli.run("generate load --preset qwen3-235b --out load.json").exit_code == 0);
  std::string const plan = "plan --load load.json --experts 128 --gpus 8 --slots 144 --out plan.json";
  auto const brief = cli.run(plan);
  CHECK(contains(brief.out, "the 8 layers of 94 that stay worst"));
  auto const full = cli.run(plan + " --all-layers");
  CHECK(std::count(full.out.begin(), full.out.end(), '\n') > 94);
  CHECK(contains(full.out, "\nmean "));
}

TEST_CASE("plan: routing records say what was dropped") {
  CliRunner const cli;
  std::string records;
  for (int i = 0; i < 3; ++i)
    records += R"({"type": "route", "layer": 0, "topk_ids": [1, 0]})"
               "\n";
  records += R"({"type": "route", "layer": 0, "topk_ids": [3, 2]})"
             "\n";
  cli.write("load.json", records);
  auto const result = cli.run(kSmallPlan);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.out, "1 counted, 3 dropped as the engine's profiling pass"));
}

TEST_CASE("plan: bad input is one line that says what to change, and nothing is written") {
  CliRunner const cli;
  CHECK(contains(refusal(cli, kSmallPlan), "load.json"));
  cli.write("load.json", kSmallLoad);
  CHECK(contains(refusal(cli, "plan --load load.json --experts 4 --gpus 3 --slots 4 --out plan.json"), "slots"));
  CHECK(contains(refusal(cli, "plan --load load.json --experts 4 --gpus 2 --slots 2 --out plan.json"), "slots"));
  CHECK(contains(refusal(cli, "plan --load load.json --experts 5 --gpus 2 --slots 6 --out plan.json"), "expert"));
  CHECK(contains(refusal(cli, kSmallPlan + " --policy deepsek"), "did you mean 'deepseek'?"));
  CHECK(contains(refusal(cli, kSmallPlan + " --nods 2"), "did you mean '--nodes'?"));
  CHECK(contains(refusal(cli, kSmallPlan + " --nodes 3"), "node"));
  CHECK(contains(refusal(cli, kSmallPlan + " --groups 3"), "group"));
  CHECK(contains(refusal(cli, kSmallPlan + " --format xml"), "--format is 'xml'"));
  CHECK(contains(refusal(cli, "plan --load load.json"), "--experts is missing"));
  CHECK(contains(refusal(cli, "paln"), "did you mean 'plan'?"));
  CHECK(contains(refusal(cli, ""), "switchyard help"));
  for (char const* text : {"", "{\"expert_load\": [[4, 2,", "[[4, 2, 1, -1]]", "[[4, 2, 1, NaN]]", "[[4, 2, 1, 1e999]]",
                           "[[4, 2, 1]]", "[[4, 2, 1, 1], [1]]", "layer,expert,load\n0,0,nan\n"}) {
    CAPTURE(text);
    cli.write("load.json", text);
    CHECK(contains(refusal(cli, kSmallPlan), "load.json"));
  }
}

TEST_CASE("plan: an output that cannot be written leaves nothing, an existing one survives a failure") {
  CliRunner const cli;
  cli.write("load.json", kSmallLoad);
  CHECK(contains(refusal(cli, "plan --load load.json --experts 4 --gpus 2 --slots 4 --out none/plan.json"), "none"));
  std::filesystem::create_directory(cli.work() / "folder");
  (void)refusal(cli, "plan --load load.json --experts 4 --gpus 2 --slots 4 --out folder");
  CHECK(std::filesystem::is_empty(cli.work() / "folder"));
  cli.write("plan.json", "precious");
  (void)refusal(cli, kSmallPlan + " --policy nope");
  CHECK(cli.read("plan.json") == "precious");
  auto const full = cli.run("version", "/dev/full");
  CHECK(full.exit_code == 2);
  CHECK(contains(full.err, "stdout refused the report"));
}

TEST_CASE("generate: same options, same bytes; other seeds differ; foreign options are refused") {
  CliRunner const cli;
  std::string const load = "generate load --preset olmoe --steps 2 --drift 0.1 --tokens 1000 --out ";
  REQUIRE(cli.run(load + "a.json").exit_code == 0);
  REQUIRE(cli.run(load + "b.json").exit_code == 0);
  REQUIRE(cli.run(load + "c.json --seed 2").exit_code == 0);
  CHECK(cli.read("a.json") == cli.read("b.json"));
  CHECK(cli.read("a.json") != cli.read("c.json"));
  auto const plan = cli.run("plan --load a.json --experts 64 --gpus 8 --slots 72 --out plan.json");
  CHECK(plan.err.empty());
  CHECK(plan.exit_code == 0);
  std::string const routing = "generate routing --preset log-normal --ranks 2 --experts 64 --tokens 50 --out r.jsonl";
  REQUIRE(cli.run(routing).exit_code == 0);
  auto const from_routing = cli.run("plan --load r.jsonl --experts 64 --gpus 8 --slots 72 --out plan.json");
  CHECK(from_routing.err.empty());
  CHECK(contains(from_routing.out, "100 counted"));
  CHECK(contains(refusal(cli, "generate load --preset olmoe --ranks 2 --out x"), "--ranks has no meaning"));
  CHECK(contains(refusal(cli, "generate routing --preset uniform --layers 2 --out x"), "--layers has no meaning"));
  CHECK(contains(refusal(cli, "generate lod --preset olmoe --out x"), "did you mean 'load'?"));
  CHECK(contains(refusal(cli, "generate load --preset deepsek-r1 --out x"), "did you mean 'deepseek-r1'?"));
  CHECK(contains(refusal(cli, "generate load --preset olmoe --sigma 9 --out x"), "--sigma is '9'"));
  CHECK(contains(refusal(cli, "generate load --preset olmoe --experts 4 --out x"), "top_k is 8"));
  CHECK(contains(refusal(cli, "generate routing --preset one-rank --ranks 16 --out x"), "lower top_k"));
}

TEST_CASE("help and version") {
  CliRunner const cli;
  for (char const* arguments : {"help", "--help", "-h"}) {
    auto const result = cli.run(arguments);
    CHECK(result.exit_code == 0);
    CHECK(contains(result.out, "Commands:"));
  }
  auto const direct = cli.run("plan --help");
  CHECK(direct.exit_code == 0);
  CHECK(direct.out == cli.run("help plan").out);
  CHECK(direct.out == cli.run("plan --load x --help").out);
  CHECK(contains(refusal(cli, "help paln"), "did you mean 'plan'?"));
  CHECK(cli.run("version").out.find("switchyard ") == 0);
  CHECK(cli.run("--version").out == cli.run("version").out);
  CHECK(contains(cli.run("version --format json").out, "\"schema_version\": 1"));
}
