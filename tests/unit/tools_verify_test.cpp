// SPDX-License-Identifier: Apache-2.0
// `switchyard verify` as a user runs it: good plans pass, altered ones never do.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

using support::CliRunner;
using support::contains;
using support::last_line;

namespace {

/// 3 layers, 6 experts, 8 slots on 4 ranks.
void make_plan(CliRunner const& cli) {
  REQUIRE(
      cli.run("generate load --preset olmoe --layers 3 --experts 6 --topk 2 --tokens 200 --out load.json").exit_code ==
      0);
  REQUIRE(cli.run("plan --load load.json --experts 6 --gpus 4 --slots 8 --nodes 2 --out plan.json").exit_code == 0);
}

switchyard::RebalancePlan parse_plan(CliRunner const& cli) {
  return switchyard::io::rebalance_plan_from_json(cli.read("plan.json"), "plan.json");
}

}  // namespace

TEST_CASE("a planned move is proved and rehearsed in both modes, on both schedulers") {
  CliRunner const cli;
  make_plan(cli);
  for (char const* options : {"", "--scheduler threads", "--seed 7", "--tensor-bytes 1,33,7"}) {
    CAPTURE(options);
    auto const result = cli.run(std::string("verify plan.json ") + options);
    CAPTURE(result.out);
    CHECK(result.exit_code == 0);
    CHECK(result.err.empty());
    CHECK(contains(result.out, "buffered ok: "));
    CHECK(contains(result.out, "in_place ok: "));
    CHECK(last_line(result.out) == "plan.json: ok");
  }
  // 3 layers x 8 slots x 2 tensors of 64 and 24 bytes.
  CHECK(contains(cli.run("verify plan.json").out, "48 rows, 2,112 bytes equal on 4 ranks"));
  auto const json = cli.run("verify plan.json --format json");
  CHECK(contains(json.out, "\"schema_version\": 1"));
  CHECK(contains(json.out, "\"ok\": true"));
  CHECK(contains(json.out, "\"bytes_checked\": 2112"));
}

TEST_CASE("a plan altered with a matching fingerprint is refused by its proof, every violation listed") {
  CliRunner const cli;
  make_plan(cli);
  auto plan = parse_plan(cli);
  int removed = 0;
  for (auto& layer : plan.layers) {
    for (auto& rank : layer.ranks) {
      if (rank.sends.empty() || removed == 2) continue;
      rank.sends.pop_back();
      ++removed;
    }
  }
  REQUIRE(removed == 2);
  cli.write("plan.json", switchyard::io::to_json(plan));
  auto const result = cli.run("verify plan.json");
  CAPTURE(result.out);
  CHECK(result.exit_code == 1);
  CHECK(contains(result.out, "proof      WRONG: 4 violation(s)"));  // per send: no match, and a row unwritten
  CHECK(contains(result.out, "unmatched_receive: layer 0"));
  CHECK(contains(result.out, "unwritten_row: layer 0"));
  CHECK(last_line(result.out) == "plan.json: WRONG");
  CHECK_FALSE(contains(result.out, "rehearsal"));
  auto const json = cli.run("verify plan.json --format json");
  CHECK(json.exit_code == 1);
  CHECK(contains(json.out, "\"rule\": \"unmatched_receive\""));
}

TEST_CASE("every digit of a plan's content counts: no altered file is accepted") {
  CliRunner const cli;
  make_plan(cli);
  std::string const plan = cli.read("plan.json");
  auto const content = plan.find("\"mapping\"");
  REQUIRE(content != std::string::npos);
  int altered = 0;
  for (std::size_t at = content; at < plan.size(); at += 5) {
    while (at < plan.size() && std::isdigit(static_cast<unsigned char>(plan[at])) == 0) ++at;
    if (at >= plan.size()) break;
    std::string copy = plan;
    copy[at] = copy[at] == '1' ? '2' : '1';
    cli.write("altered.json", copy);
    auto const result = cli.run("verify altered.json");
    CAPTURE(at);
    CAPTURE(result.out);
    CAPTURE(result.err);
    CHECK((result.exit_code == 1 || result.exit_code == 2));
    ++altered;
  }
  CHECK(altered > 30);
}

TEST_CASE("a file that is no plan ends with exit code 2 and one line") {
  CliRunner const cli;
  make_plan(cli);
  std::string const plan = cli.read("plan.json");
  cli.write("cut.json", plan.substr(0, plan.size() / 2));
  cli.write("empty.json", "");
  cli.write("other.json", "{}");
  for (char const* arguments : {"verify none.json", "verify cut.json", "verify empty.json", "verify other.json",
                                "verify load.json", "verify", "verify plan.json --tensor-bytes 64,",
                                "verify plan.json --tensor-bytes 0", "verify plan.json --scheduler fibre"}) {
    CAPTURE(arguments);
    auto const result = cli.run(arguments);
    CHECK(result.exit_code == 2);
    CHECK(result.out.empty());
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    CHECK(result.err.find("switchyard verify: ") == 0);
  }
}
