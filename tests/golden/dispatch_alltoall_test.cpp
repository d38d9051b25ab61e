// SPDX-License-Identifier: Apache-2.0
// Every AlltoAll case of the peers' golden vectors, executed on emulated ranks: metadata, dispatched rows, combined
// values. Also shows that the comparison is no rubber stamp: a changed expectation is found and named.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/file.hpp"
#include "vectors/alltoall.hpp"

using namespace std::string_literals;

TEST_CASE("every AlltoAll case of megatron_dev.json") {
  char const* const folder = std::getenv("SWITCHYARD_GOLDEN_DIR");
  if (folder == nullptr || *folder == '\0') {
    MESSAGE("skipped: SWITCHYARD_GOLDEN_DIR is not set");
    return;
  }
  auto const path = std::string(folder) + "/megatron_dev.json";
  auto const document = switchyard::io::JsonDocument::parse(switchyard::io::read_file(path), path);
  auto const cases = document.root().at("cases");
  int run = 0;
  for (std::size_t i = 0; i < cases.array_size(); ++i) {
    auto const golden = cases.at(i);
    if (golden.at("dispatcher").as_string() != "alltoall") continue;
    CAPTURE(i);
    CHECK(switchyard::tools::run_alltoall_case(golden) == "");
    ++run;
  }
  MESSAGE("AlltoAll cases run: " << run);
  CHECK(run > 0);
}

namespace {

// One rank, two experts, one token that chose both: rows 1 and 2 of weight 0.5 and 0.25 give 0.5 * 1 + 0.25 * 2 = 1.
std::string own_case(std::string const& combined, std::string const& permutation, std::string const& sync) {
  return R"({"dispatcher": "alltoall", "tp": 1, "ep": 1, "num_experts": 2, "topk": 2, "capacity_factor": null,
    "pad_to_capacity": false, "drop_policy": null, "ranks": [{"num_tokens": 1, "topk_ids": [[1, 0]],
    "topk_probs": [[0.25, 0.5]], "tokens_per_local_expert": [1, 1], "dispatched": [[0, 0], [0, 0]],
    "input_splits": null, "output_splits": null, "output_splits_tp": null, "num_out_tokens": 2,
    "sort_input_by_local_experts": [0, 1], "restore_output_by_local_experts": [0, 1],
    "num_global_tokens_per_local_expert": [1, 1], "permutation": )" +
         permutation + R"(, "cuda_sync_point": ")" + sync + R"(", "combined": )" + combined + "}]}";
}

std::string run(std::string const& text) {
  return switchyard::tools::run_alltoall_case(switchyard::io::JsonDocument::parse(text, "own").root());
}

}  // namespace

TEST_CASE("a wrong expectation is found and named") {
  CHECK(run(own_case("[[1, 1, 1]]", "[0, 0]", "before_ep_alltoall")) == "");
  CHECK(run(own_case("[[1, 1.5, 1]]", "[0, 0]", "before_ep_alltoall")) ==
        "rank 0, combined[0][1]: expected 1.5, got 1"s);
  CHECK(run(own_case("[[1, 1, 1]]", "[0, 1]", "before_ep_alltoall")) == "rank 0, permutation[1]: expected 1, got 0"s);
  CHECK(run(own_case("[[1, 1, 1]]", "[0]", "before_ep_alltoall")) ==
        "rank 0, permutation.length[0]: expected 1, got 2"s);
  CHECK(run(own_case("[[1, 1, 1]]", "[0, 0]", "no_sync")) ==
        "rank 0, cuda_sync_point: expected no_sync, got before_ep_alltoall"s);
}
