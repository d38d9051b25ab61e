// SPDX-License-Identifier: Apache-2.0
// `switchyard vectors`: counts per kind, first mismatch with its origin, exit codes, and the exact last line.
//
// The own case: one rank, two experts, one token that chose both with 0.5 and 0.25. Expert e multiplies by e + 1, the
// payload is [1, 1, 1], so the combined value is 0.5 * 1 + 0.25 * 2 = 1.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;
using support::last_line;

namespace {

std::string alltoall_case(std::string const& combined) {
  return R"({"dispatcher": "alltoall", "tp": 1, "ep": 1, "num_experts": 2, "topk": 2, "capacity_factor": null,
 "pad_to_capacity": false, "drop_policy": null, "ranks": [{"num_tokens": 1, "topk_ids": [[1, 0]],
 "topk_probs": [[0.25, 0.5]], "tokens_per_local_expert": [1, 1], "dispatched": [[0, 0], [0, 0]],
 "input_splits": null, "output_splits": null, "output_splits_tp": null, "num_out_tokens": 2, "permutation": [0, 0],
 "sort_input_by_local_experts": [0, 1], "restore_output_by_local_experts": [0, 1],
 "num_global_tokens_per_local_expert": [1, 1], "cuda_sync_point": "before_ep_alltoall", "combined": )" +
         combined + "}]}";
}

std::string policy_case(std::string const& phy2log) {
  return R"({"name": "two experts", "num_layers": 1, "num_logical": 2, "num_slots": 2, "num_groups": 1, "num_nodes": 1,
 "num_gpus": 2, "hierarchical": false, "weight": [[1, 2]], "phy2log": )" +
         phy2log + R"(, "logcnt": [[1, 1]], "max_logcnt": 1, "log2phy": [[[0], [1]]]})";
}

}  // namespace

TEST_CASE("a backend that is not there is a typed error that says what to do; one that is runs the plans") {
  CliRunner const cli;
  cli.write("v.json", "{\"cases\": [" + alltoall_case("[[1, 1, 1]]") + ", " + policy_case("[[0, 1]]") + "]}");
  CHECK(last_line(cli.run("vectors v.json").out) == "2 passed, 0 failed");
  auto const result = cli.run("vectors v.json --backend cuda");
  CAPTURE(result.err);
  if (result.exit_code == 0) {
    CHECK(last_line(result.out) == "1 passed, 0 failed, 1 skipped");
    CHECK(contains(result.out, "eplb-policy skipped: what these cases hold is computed on the host"));
  } else {
    CHECK(result.exit_code == 2);
    CHECK(result.out.empty());
    CHECK(contains(result.err, "use --backend cpu"));
    CHECK((contains(result.err, "no CUDA backend") || contains(result.err, "no usable GPU")));
  }
}

TEST_CASE("passed and failed cases are counted; the mismatch names its origin") {
  CliRunner const cli;
  cli.write("v.json", "{\"cases\": [" + policy_case("[[0, 1]]") + ", " + policy_case("[[1, 0]]") + "]}");
  auto const all = cli.run("vectors v.json");
  CAPTURE(all.out);
  CAPTURE(all.err);
  CHECK(all.exit_code == 1);
  CHECK(last_line(all.out) == "1 passed, 1 failed");
  CHECK(contains(all.out, "first eplb-policy mismatch: v.json: $.cases[1] 'two experts'"));
  cli.write("good.json", "{\"cases\": [" + policy_case("[[0, 1]]") + "]}");
  auto const good = cli.run("vectors good.json --backend cpu");
  CHECK(good.exit_code == 0);
  CHECK(good.err.empty());
  CHECK(last_line(good.out) == "1 passed, 0 failed");
}

TEST_CASE("an AlltoAll case runs end to end; a broken expectation is found") {
  CliRunner const cli;
  cli.write("good.json", "{\"cases\": [" + alltoall_case("[[1, 1, 1]]") + "]}");
  cli.write("bad.json", "{\"cases\": [" + alltoall_case("[[1, 1, 2]]") + "]}");
  auto const good = cli.run("vectors good.json --only alltoall");
  CAPTURE(good.out);
  CAPTURE(good.err);
  CHECK(last_line(good.out) == "1 passed, 0 failed");
  auto const bad = cli.run("vectors bad.json --only alltoall");
  CHECK(bad.exit_code == 1);
  CHECK(last_line(bad.out) == "0 passed, 1 failed");
  CHECK(contains(bad.out, "combined"));
}

TEST_CASE("bad usage and files end with exit code 2 and one line") {
  CliRunner const cli;
  cli.write("good.json", "{\"cases\": [" + policy_case("[[0, 1]]") + "]}");
  cli.write("empty.json", "{}");
  cli.write("cut.json", "{\"cases\": [");
  cli.write("odd.json", R"({"cases": [{"colour": "red"}]})");
  cli.write("other.json", R"({"cases": [{"dispatcher": "pigeon"}]})");
  for (auto const& expected : {std::pair{"vectors none.json", "none.json"},
                               {"vectors empty.json", "no golden cases"},
                               {"vectors cut.json", "cut.json"},
                               {"vectors odd.json", "no kind of golden case"},
                               {"vectors other.json", "pigeon"},
                               {"vectors good.json --only router", "holds no router case"},
                               {"vectors good.json --only rooter", "did you mean 'router'?"},
                               {"vectors", "FILE is missing"}}) {
    std::string const arguments = expected.first;
    std::string const part = expected.second;
    CAPTURE(arguments);
    auto const result = cli.run(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code == 2);
    CHECK(result.out.empty());
    CHECK(contains(result.err, part));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
}

TEST_CASE("the peers' files: no failure, nothing skipped in what this build has") {
  char const* const folder = std::getenv("SWITCHYARD_GOLDEN_DIR");
  if (folder == nullptr || *folder == '\0') {
    MESSAGE("skipped: SWITCHYARD_GOLDEN_DIR is not set");
    return;
  }
  CliRunner const cli;
  for (auto const& [arguments, line] : {std::pair{"megatron_dev.json'", "173 passed, 0 failed"},
                                        {"megablocks_dev.json'", "80 passed, 0 failed"},
                                        {"eplb_exec_dev.json'", "187 passed, 0 failed"},
                                        {"eplb_policy_dev.json'", "47 passed, 0 failed"}}) {
    auto const result = cli.run("vectors '" + std::string(folder) + "/" + arguments);
    CHECK(result.exit_code == 0);
    CHECK(last_line(result.out) == line);
  }
}
