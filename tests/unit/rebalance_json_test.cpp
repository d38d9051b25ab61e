// SPDX-License-Identifier: Apache-2.0
// Plan and placement files: the example of docs/formats/plan.md byte for byte, foreign maps, and what a reader refuses.
#include <doctest/doctest.h>

#include <array>

#include "support/error_text.hpp"
#include "support/rebalance_cases.hpp"
#include "switchyard/io/plan_json.hpp"

using switchyard::ErrorCode;
using switchyard::ExpertPlacement;
using switchyard::RankMapping;
using switchyard::RebalancePlan;
using switchyard::SlotLayout;
using switchyard::io::placement_from_json;
using switchyard::io::rebalance_plan_from_json;
using switchyard::io::to_json;

namespace {

constexpr std::string_view kExample = R"({
"kind": "rebalance_plan",
"schema_version": 1,
"fingerprint": "8f0828771fdcae82",
"notes": {"tool": "switchyard 0.1.0", "policy": "deepseek", "load": "loads.json"},
"mapping": {"mode": "none", "new_rank_of": []},
"before": {
"num_experts": 4,
"slots_per_rank": [2,2],
"slot_to_expert": [
[0,1,2,3],
[0,1,2,3]
]},
"after": {
"num_experts": 4,
"slots_per_rank": [2,2],
"slot_to_expert": [
[0,2,1,3],
[0,1,0,0]
]},
"layers": [
{"layer":0,"ranks":[
{"rank":0,"sends":[[1,1,1]],"receives":[[2,1,1]],"local_copies":[],"duplicates":[]},
{"rank":1,"sends":[[2,0,0]],"receives":[[1,0,0]],"local_copies":[],"duplicates":[]}]},
{"layer":1,"ranks":[
{"rank":0,"sends":[[0,0,1]],"receives":[],"local_copies":[],"duplicates":[]},
{"rank":1,"sends":[],"receives":[[0,0,0]],"local_copies":[],"duplicates":[[0,0,1]]}]}]
}
)";

ExpertPlacement four_slots(std::vector<oracle::Ints> const& layers) {
  return support::to_placement(4, {2, 2}, layers);
}

RebalancePlan example_plan() {
  return plan_rebalance(four_slots({{0, 1, 2, 3}, {0, 1, 2, 3}}), four_slots({{0, 2, 1, 3}, {0, 1, 0, 0}}));
}

/// The example with one part replaced.
std::string changed(std::string_view part, std::string_view by) {
  std::string text(kExample);
  auto const place = text.find(part);
  REQUIRE(place != std::string::npos);
  return text.replace(place, part.size(), by);
}

std::string refusal(std::string const& text, ErrorCode code = ErrorCode::parse) {
  return support::error_text(code, [&] { return rebalance_plan_from_json(text, "plan.json").layers.size(); });
}

std::string placement_refusal(std::string const& text, int num_experts, int num_ranks) {
  return support::error_text(
      ErrorCode::parse, [&] { return placement_from_json(text, "map.json", num_experts, num_ranks).num_layers(); });
}

void check_text(std::string const& text, std::string_view part) {
  CAPTURE(text);
  CHECK(support::contains(text, "plan.json"));
  CHECK(support::contains(text, part));
}

}  // namespace

TEST_CASE("the documented example is what is written and read") {
  auto const plan = example_plan();
  CHECK(to_json(plan, {"switchyard 0.1.0", "deepseek", "loads.json"}) == kExample);
  CHECK(rebalance_plan_from_json(kExample, "plan.json") == plan);
}

TEST_CASE("notes may hold anything and never change the fingerprint") {
  auto const plan = example_plan();
  auto const text = to_json(plan, {"\"quoted\"\n", std::string("\xff\0", 2), "\\"});
  CHECK(rebalance_plan_from_json(text, "plan.json") == plan);
  CHECK(support::contains(text, "8f0828771fdcae82"));
}

TEST_CASE("a changed number is found by the fingerprint") {
  check_text(refusal(changed("[[1,1,1]]", "[[1,0,1]]"), ErrorCode::invalid_plan), "altered or damaged");
  check_text(refusal(changed("8f08", "8f09"), ErrorCode::invalid_plan), "8f0928771fdcae82");
  check_text(refusal(changed("\"none\"", "\"scale_up\""), ErrorCode::invalid_plan), "fingerprint");
}

TEST_CASE("whatever does not follow the format is refused with its path") {
  check_text(refusal(changed("\"schema_version\": 1", "\"schema_version\": 2")), "this build reads version 1");
  check_text(refusal(changed("rebalance_plan", "something")), "the kind \"rebalance_plan\" is required");
  check_text(refusal(changed("8f0828771fdcae82", "8f08")), "16 hexadecimal digits");
  check_text(refusal(changed("\"none\"", "\"sideways\"")), "$.mapping.mode");
  check_text(refusal(changed("\"policy\"", "\"author\"")), "no member of this format");
  check_text(refusal(changed("\"num_experts\": 4", "\"num_experts\": 1048577")), "$.before.num_experts");
  check_text(refusal(changed("\"num_experts\": 4", "\"num_experts\": 4, \"more\": 1")), "\"more\" is no member");
  check_text(refusal(changed("\"slots_per_rank\": [2,2]", "\"slots_per_rank\": [2,-2]")), "$.before.slots_per_rank[1]");
  check_text(refusal(changed("\"slots_per_rank\": [2,2]", "\"slots_per_rank\": [2147483647,2]")), "2^31 - 1");
  check_text(refusal(changed("[0,1,2,3]", "[0,1,2]")), "$.before.slot_to_expert[0]");
  check_text(refusal(changed("[0,1,2,3]", "[0,1,2,2.5]")), "$.before.slot_to_expert[0][3]");
  check_text(refusal(changed("\"layer\":1", "\"layer\":2")), "$.layers[1].layer");
  check_text(refusal(changed("{\"rank\":1", "{\"rank\":0")), "$.layers[0].ranks[1].rank");
  check_text(refusal(changed("[[1,1,1]]", "[[1,1]]")), "$.layers[0].ranks[0].sends[0]");
  check_text(refusal(changed("[[1,1,1]]", "[[1,1,4294967296]]")), "4294967296");
  check_text(refusal(changed("\"duplicates\":[]", "\"spares\":[]")), "\"spares\" is no member");
}

TEST_CASE("a file cut anywhere is refused") {
  for (std::size_t length = 0; length + 2 < kExample.size(); ++length) {
    auto const text = refusal(std::string(kExample.substr(0, length)));
    CAPTURE(length);
    CHECK(support::contains(text, "plan.json"));
  }
}

TEST_CASE("placement files and plan files give placements") {
  auto const plan = example_plan();
  CHECK(placement_from_json(to_json(plan.before), "map.json", 0, 0) == plan.before);
  CHECK(placement_from_json(kExample, "map.json", 4, 2) == plan.after);
  CHECK(support::contains(placement_refusal(std::string(kExample), 5, 2), "it places 4 experts, but 5 are asked for"));
  CHECK(support::contains(placement_refusal(std::string(kExample), 0, 3), "it is for 2 ranks, but 3 are asked for"));
  CHECK(support::contains(placement_refusal("{}", 0, 1), "a plan, a schedule, a placement or a"));
  CHECK(support::contains(placement_refusal("[]", 0, 1), "an object is required"));
}

TEST_CASE("a plan that scales down gives the placement of the ranks that stay") {
  auto const two = support::to_placement(4, {1, 1}, {{3, 2}});
  RankMapping const mapping{switchyard::ScaleMode::scale_down,
                            {switchyard::RankId(-1), switchyard::RankId(1), switchyard::RankId(0)}};
  auto plan = plan_rebalance(support::to_placement(4, {1, 1, 1}, {{3, 2, 1}}), two, mapping);
  CHECK(placement_from_json(to_json(plan), "plan.json", 4, 2) == two);
  CHECK(rebalance_plan_from_json(to_json(plan), "plan.json") == plan);
  plan.mapping.new_rank_of[0] = switchyard::RankId(7);
  auto const text = placement_refusal(to_json(plan), 4, 2);
  CHECK(support::contains(text, "$.mapping"));
}

TEST_CASE("maps of SGLang and vLLM are read") {
  auto const expected = support::to_placement(3, {2, 2}, {{0, 1, 2, 0}, {2, 1, -1, 0}});
  std::string const map = R"({"physical_to_logical_map": [[0,1,2,0],[2,1,-1,0]], "num_moe_layers": 2})";
  CHECK(placement_from_json(map, "map.json", 0, 2) == expected);
  CHECK(placement_from_json(map, "map.json", 3, 2) == expected);
  std::string const state = R"({"physical_to_logical_map": [[0,1,2,0]], "num_logical_experts": 8})";
  CHECK(placement_from_json(state, "map.json", 0, 2).num_experts() == 8);
}

TEST_CASE("foreign maps that do not fit are refused") {
  std::string const map = R"({"physical_to_logical_map": [[0,1,2,0],[2,1,0,3]]})";
  CHECK(support::contains(placement_refusal(map, 0, 3), "4 slots cannot be split evenly over 3 ranks"));
  CHECK(support::contains(placement_refusal(map, 0, 0), "over 0 ranks"));
  CHECK(support::contains(placement_refusal(map, 3, 2), "$.physical_to_logical_map[1][3]"));
  CHECK(support::contains(placement_refusal(R"({"physical_to_logical_map": [[0,1],[0]]})", 0, 2), "an array of 2"));
  CHECK(support::contains(placement_refusal(R"({"physical_to_logical_map": [[0,-2]]})", 0, 2), "[0][1]"));
  CHECK(support::contains(placement_refusal(R"({"physical_to_logical_map": []})", 0, 2), "0 slots"));
}
