// SPDX-License-Identifier: Apache-2.0
// Every case of the peers' golden vectors for the dispatchers other than AlltoAll, executed on emulated ranks:
// integers, dispatched rows in order, combined values. Also shows that a changed expectation is found and named.
//
// AllGather by hand: one rank, two experts, one token with weights 0.5 (expert 0) and 0.25 (expert 1): the experts give
// 1 * row and 2 * row, so the token gets 0.5 + 0.5 = 1 times its row.
#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/file.hpp"
#include "vectors/allgather.hpp"
#include "vectors/flex.hpp"
#include "vectors/megablocks.hpp"

using switchyard::io::JsonValue;

namespace {

using Runner = std::string (*)(JsonValue const&);

/// Runs the cases that `selected` picks. Skips, and says so, when there is no folder of vectors.
void run_cases(char const* file, Runner runner, std::function<bool(JsonValue const&)> const& selected) {
  char const* const folder = std::getenv("SWITCHYARD_GOLDEN_DIR");
  if (folder == nullptr || *folder == '\0') {
    MESSAGE("skipped: SWITCHYARD_GOLDEN_DIR is not set");
    return;
  }
  auto const path = std::string(folder) + "/" + file;
  auto const document = switchyard::io::JsonDocument::parse(switchyard::io::read_file(path), path);
  auto const cases = document.root().at("cases");
  int run = 0;
  for (std::size_t i = 0; i < cases.array_size(); ++i) {
    auto const golden = cases.at(i);
    if (!selected(golden)) continue;
    CAPTURE(i);
    CHECK(runner(golden) == "");
    ++run;
  }
  MESSAGE("cases run: " << run);
  CHECK(run > 0);
}

std::function<bool(JsonValue const&)> dispatcher(std::string name) {
  return [name = std::move(name)](JsonValue const& golden) { return golden.at("dispatcher").as_string() == name; };
}

std::string run(Runner runner, std::string const& text) {
  return runner(switchyard::io::JsonDocument::parse(text, "own").root());
}

std::string replaced(std::string text, std::string const& from, std::string const& to) {
  return text.replace(text.find(from), from.size(), to);
}

std::string const kAllGather = R"({"dispatcher": "allgather", "tp": 1, "ep": 1, "num_experts": 2, "topk": 2,
  "capacity_factor": null, "ranks": [{"num_tokens": 1, "topk_ids": [[1, 0]], "topk_probs": [[0.25, 0.5]],
  "tokens_per_local_expert": [1, 1], "dispatched": [[0, 0], [0, 0]], "permutation": [0, 0],
  "combined": [[1, 1, 1]]}]})";

std::string const kFlex = R"({"dispatcher": "flex", "tp": 1, "ep": 1, "num_experts": 2, "topk": 2,
  "capacity_factor": null, "ranks": [{"num_tokens": 1, "topk_ids": [[1, 0]], "topk_probs": [[0, 0.5]],
  "tokens_per_local_expert": [1, 0], "dispatched": [[0, 0]], "combined": [[0.5, 0.5, 0.5]]}]})";

// Two tokens chose expert 0; factor 1 of 2 rows over 2 experts leaves one place in every bin, so token 1 is dropped.
std::string const kMegaBlocks = R"({"world": 1, "num_experts": 2, "topk": 1, "capacity_factor": 1, "ranks": [
  {"num_tokens": 2, "topk_ids": [[0], [0]], "topk_weights": [[0.5], [0.25]], "indices": [0, 1], "bin_ids": [0, 0],
  "bins": [2, 2], "tokens_per_expert": [2, 0], "expert_capacity": 1, "expert_rows": [[[0, 0]], [null]],
  "combined": [[0.5, 0.5, 0.5], [0, 0, 0]]}]})";

}  // namespace

TEST_CASE("every AllGather case of megatron_dev.json") {
  run_cases("megatron_dev.json", switchyard::tools::run_allgather_case, dispatcher("allgather"));
}

TEST_CASE("every Flex case of megatron_dev.json") {
  run_cases("megatron_dev.json", switchyard::tools::run_flex_case, dispatcher("flex"));
}

TEST_CASE("a Flex choice of weight 0 is dropped, and a wrong expectation is found and named") {
  Runner const runner = switchyard::tools::run_flex_case;
  CHECK(run(runner, kFlex) == "");
  CHECK(run(runner, replaced(kFlex, "expert\": [1, 0]", "expert\": [1, 1]")) ==
        "rank 0, tokens_per_local_expert[1]: expected 1, got 0");
  CHECK(run(runner, replaced(kFlex, "[[0.5, 0.5, 0.5]]", "[[0.5, 0.5, 1]]")) ==
        "rank 0, combined[0][2]: expected 1, got 0.5");
}

TEST_CASE("a wrong AllGather expectation is found and named") {
  Runner const runner = switchyard::tools::run_allgather_case;
  CHECK(run(runner, kAllGather) == "");
  CHECK(run(runner, replaced(kAllGather, "[[1, 1, 1]]", "[[1, 1, 2]]")) == "rank 0, combined[0][2]: expected 2, got 1");
  CHECK(run(runner, replaced(kAllGather, "\"permutation\": [0, 0]", "\"permutation\": [0, 1]")) ==
        "rank 0, permutation[1]: expected 1, got 0");
  CHECK(run(runner, replaced(kAllGather, "[[0, 0], [0, 0]]", "[[0, 0], [1, 0]]")) ==
        "rank 0, dispatched[2]: expected 1, got 0");
}

TEST_CASE("every case of megablocks_dev.json") {
  run_cases("megablocks_dev.json", switchyard::tools::run_megablocks_case, [](JsonValue const&) { return true; });
}

TEST_CASE("a wrong MegaBlocks expectation is found and named") {
  Runner const runner = switchyard::tools::run_megablocks_case;
  CHECK(run(runner, kMegaBlocks) == "");
  CHECK(run(runner, replaced(kMegaBlocks, "\"expert_capacity\": 1", "\"expert_capacity\": 2")) ==
        "rank 0, expert_capacity[0]: expected 2, got 1");
  CHECK(run(runner, replaced(kMegaBlocks, "[[[0, 0]], [null]]", "[[[0, 1]], [null]]")) ==
        "rank 0, expert_rows[0][0][1]: expected 2, got 1");
  CHECK(run(runner, replaced(kMegaBlocks, "[[[0, 0]], [null]]", "[[[0, 0]], [[0, 1]]]")) ==
        "rank 0, expert_rows[1][0][0]: expected 1, got 0");
}
