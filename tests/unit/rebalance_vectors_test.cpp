// SPDX-License-Identifier: Apache-2.0
// The comparison behind the golden tests and the CLI's command `vectors`: it must pass what is right and name what is
// wrong. The cases are small ones worked by hand: two ranks with two slots swap the experts 1 and 2, and three experts
// with loads 6 2 1 fill four slots of two ranks (oracle/eplb_policy_oracle.hpp works that one).
#include <doctest/doctest.h>

#include <string>

#include "support/error_text.hpp"
#include "switchyard/internal/json_value.hpp"
#include "vectors/eplb.hpp"

using switchyard::io::JsonDocument;
using switchyard::vectors::run_eplb_exec_case;
using switchyard::vectors::run_eplb_moved_case;
using switchyard::vectors::run_eplb_policy_case;

namespace {

constexpr std::string_view kSwap = R"({"ranks": 2, "num_local_experts": 2, "num_layers": 1, "num_logical_experts": 4,
  "old": [[0, 1, 2, 3]], "new": [[0, 2, 1, 3]], "rank_mapping": null, "mode": null, "layers": [{"ranks": [
  {"sends": [[1, 1]], "recvs": [[2, 1, 1]], "is_unchanged": [1, 0], "is_received_locally": [1, 0],
   "recv_primary_mask": [0, 1], "recv_expert_ids": [2], "recv_dst_rows": [1]},
  {"sends": [[2, 0]], "recvs": [[1, 0, 0]], "is_unchanged": [0, 1], "is_received_locally": [0, 1],
   "recv_primary_mask": [1, 0], "recv_expert_ids": [1], "recv_dst_rows": [0]}],
  "final": [[[0, 0], [2, 2]], [[1, 1], [3, 3]]]}]})";

constexpr std::string_view kMissing =
    R"({"reasons": ["missing_source"], "num_local_experts": 2, "num_logical_experts": 4,
  "old": [[0, 1, 2, 2]], "new": [[0, 2, 1, 3]], "rank_mapping": null, "mode": null})";

constexpr std::string_view kPolicy =
    R"({"num_logical": 3, "num_slots": 4, "num_groups": 1, "num_nodes": 1, "num_gpus": 2,
  "hierarchical": true, "weight": [[6, 2, 1]], "phy2log": [[0, 1, 0, 2]], "logcnt": [[2, 1, 1]], "max_logcnt": 2,
  "log2phy": [[[0, 2], [1, -1], [3, -1]]]})";

template <typename Run>
std::string result_of(Run const& run, std::string_view text, std::string_view part = "", std::string_view by = "") {
  std::string changed(text);
  if (!part.empty()) {
    auto const place = changed.find(part);
    REQUIRE(place != std::string::npos);
    changed.replace(place, part.size(), by);
  }
  return run(JsonDocument::parse(changed, "vector").root());
}

}  // namespace

TEST_CASE("right vectors pass") {
  CHECK(result_of(run_eplb_exec_case, kSwap) == "");
  CHECK(result_of(run_eplb_exec_case, kMissing) == "");
  CHECK(result_of(run_eplb_policy_case, kPolicy) == "");
}

TEST_CASE("a wrong expectation of a move is named with layer, rank and field") {
  CHECK(result_of(run_eplb_exec_case, kSwap, "\"sends\": [[2, 0]]", "\"sends\": [[2, 1]]") ==
        "layer 0, rank 1: sends: expected [[2, 1]], got [[2, 0]]");
  CHECK(support::contains(result_of(run_eplb_exec_case, kSwap, "[[2, 1, 1]]", "[]"), "layer 0, rank 0: recvs"));
  for (std::string_view const field : {"is_unchanged\": [1", "is_received_locally\": [1", "recv_primary_mask\": [0",
                                       "recv_expert_ids\": [2", "recv_dst_rows\": [1"}) {
    std::string const name(field.substr(0, field.find('"')));
    auto const text = result_of(run_eplb_exec_case, kSwap, field, name + "\": [7");
    CAPTURE(text);
    CHECK(support::contains(text, "rank 0: " + name + ": expected [7"));
  }
  CHECK(support::contains(result_of(run_eplb_exec_case, kSwap, "[2, 2]]", "[2, 3]]"), "rank 0: final"));
}

TEST_CASE("a move is carried out, and a backend that leaves rows where they were is found out") {
  auto const& cpu = switchyard::tools::cpu_dispatch_backend();
  auto const moved = [&](auto const& vector) { return run_eplb_moved_case(vector, cpu); };
  CHECK(result_of(moved, kSwap) == "");
  CHECK(result_of(moved, kMissing) == "");
  auto idle = cpu;
  idle.move = [](switchyard::Communicator&, switchyard::RebalancePlan const&, std::span<std::int64_t>) {};
  CHECK(result_of([&](auto const& vector) { return run_eplb_moved_case(vector, idle); }, kSwap) ==
        "moved, layer 0, rank 0: rows: expected [[0, 0], [2, 2]], got [[0, 0], [1, 1]]");
}

TEST_CASE("a wrong reason and a refused move are named") {
  CHECK(support::contains(result_of(run_eplb_exec_case, kMissing, "missing_source", "id_out_of_range"), "reasons"));
  CHECK(support::contains(result_of(run_eplb_exec_case, kSwap, "[[0, 1, 2, 3]]", "[[0, 1, 1, 3]]"), "missing_source"));
}

TEST_CASE("a wrong expectation of a placement is named") {
  CHECK(support::contains(result_of(run_eplb_policy_case, kPolicy, "[[0, 1, 0, 2]]", "[[0, 1, 2, 0]]"), "phy2log"));
  CHECK(support::contains(result_of(run_eplb_policy_case, kPolicy, "[[2, 1, 1]]", "[[1, 2, 1]]"), "layer 0: logcnt"));
  CHECK(support::contains(result_of(run_eplb_policy_case, kPolicy, "[0, 2]", "[2, 0]"), "layer 0: log2phy"));
  CHECK(support::contains(result_of(run_eplb_policy_case, kPolicy, "\"max_logcnt\": 2", "\"max_logcnt\": 1"),
                          "2 replicas, expected at most 1"));
}

TEST_CASE("a malformed vector is a parse error, not a mismatch") {
  auto const text = support::error_text(switchyard::ErrorCode::parse,
                                        [] { return result_of(run_eplb_exec_case, kSwap, "\"sends\"", "\"gives\""); });
  CHECK(support::contains(text, "sends"));
}
