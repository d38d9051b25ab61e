// SPDX-License-Identifier: Apache-2.0
// Placements in everybody's format. Worked example: 2 layers, 3 experts, 2 ranks of 2 slots; layer ids start at 3 where
// the format has ids, because the first layers of the model are dense.
#include <doctest/doctest.h>

#include "support/error_text.hpp"
#include "support/npy_bytes.hpp"
#include "support/torch_bytes.hpp"
#include "switchyard/io/load_writer.hpp"
#include "switchyard/io/placement_formats.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/io/route_trace.hpp"

namespace {

using support::contains;
using support::error_text;
using switchyard::ErrorCode;
using switchyard::ExpertId;
using switchyard::ExpertPlacement;
using switchyard::SlotLayout;
using switchyard::io::parse_placement;
using switchyard::io::parse_route_trace;
using switchyard::io::PlacementFormat;
using switchyard::io::PlacementReadResult;
using switchyard::io::RouteFormat;
using switchyard::io::write_placement;
using switchyard::io::write_route_trace;

std::vector<ExpertId> ids(std::vector<std::int32_t> const& values) {
  std::vector<ExpertId> list;
  for (auto const value : values) list.emplace_back(value);
  return list;
}

PlacementReadResult read(std::string const& text, int experts = 0, int ranks = 0) {
  return parse_placement({text, "in", experts, ranks});
}
std::string refusal(std::string const& text, int experts = 0, int ranks = 2) {
  return error_text(ErrorCode::parse, [&] { return read(text, experts, ranks); });
}

ExpertPlacement const kPlacement(2, 3, SlotLayout::uniform(2, 2), ids({0, 1, 2, 0, 2, 2, 1, 0}));
ExpertPlacement const kUneven(1, 2, SlotLayout({1, 2}), ids({0, 1, 0}));
ExpertPlacement const kEmptySlot(1, 2, SlotLayout::uniform(2, 2), ids({0, 1, -1, 0}));

std::string const kYaml = R"(# made by hand
initial_global_assignments:
  3: [0, 1,
      2, 0]   # wrapped, as PyYAML does
  4: [2, 2, 1, 0]

num_slots: 4
layer_updates_per_iter: 2
)";

}  // namespace

TEST_CASE("every writer's text is read back equal") {
  for (std::string const& name : switchyard::io::placement_output_names()) {
    CAPTURE(name);
    std::string const text = write_placement(kPlacement, name, 3);
    auto const result = read(text, 3, 2);
    CHECK(result.placement == kPlacement);
    CHECK(to_string(result.format) == name);
    bool const has_ids = name == "vllm-map" || name == "ascend" || name == "trtllm-yaml";
    CHECK(result.first_layer == (has_ids ? 3 : 0));
    CHECK(contains(refusal(text, 3, 3), "in: "));
    CHECK(contains(refusal(text, 2, 2), "in: "));
  }
}

TEST_CASE("what a format cannot say is refused when it is written") {
  auto const refused = [](ExpertPlacement const& placement, PlacementFormat format) {
    return error_text(ErrorCode::invalid_argument, [&] { return write_placement(placement, format); });
  };
  CHECK(read(write_placement(kUneven, PlacementFormat::ascend), 0, 2).placement == kUneven);
  CHECK(read(write_placement(kUneven, PlacementFormat::switchyard), 0, 2).placement == kUneven);
  CHECK(contains(refused(kUneven, PlacementFormat::sglang_map), "cuts the slots evenly"));
  CHECK(read(write_placement(kEmptySlot, PlacementFormat::vllm_state), 0, 2).placement == kEmptySlot);
  for (auto const format : {PlacementFormat::ascend, PlacementFormat::trtllm_yaml, PlacementFormat::vllm_map,
                            PlacementFormat::deployment_npy})
    CHECK(contains(refused(kEmptySlot, format), "layer 0, slot 2 is empty"));
  CHECK(contains(refused(kPlacement, PlacementFormat::plan), "is only read"));
  CHECK(contains(error_text(ErrorCode::invalid_argument, [] { return write_placement(kPlacement, "yaml"); }),
                 "known are switchyard"));
}

TEST_CASE("TensorRT-LLM's YAML: wrapped lists, comments, any order of members") {
  auto const result = read(kYaml, 3, 2);
  CHECK(result.placement == kPlacement);
  CHECK(result.first_layer == 3);
  CHECK(result.layer_updates_per_iter == 2);
  CHECK(contains(refusal(kYaml, 0, 0), "give the number of GPUs"));
  CHECK(contains(refusal("num_slots: 4\n"), "are required"));
  CHECK(contains(refusal("num_slots: 4\nnum_slots: 4\n"), "given twice"));
  CHECK(contains(refusal("num_slots: &a 4\n"), "found '&a 4', an integer"));
  CHECK(contains(refusal("colour: 4\n"), "found 'colour: 4', the members are"));
  CHECK(contains(refusal("num_slots: 4\ninitial_global_assignments:\n  0:\n  - 1\n"), "default_flow_style=None"));
  CHECK(contains(refusal("num_slots: 2\ninitial_global_assignments:\n  0: [0, 1]\n  0: [0, 1]\n"),
                 "layer is given twice"));
  CHECK(
      contains(refusal("num_slots: 2\ninitial_global_assignments:\n  0: [0, 1]\n  2: [0, 1]\n"), "layer 1 is missing"));
  CHECK(
      contains(refusal("num_slots: 3\ninitial_global_assignments:\n  0: [0, 1]\n"), "assigns 2 slots, num_slots is 3"));
  CHECK(contains(refusal("num_slots: 2\ninitial_global_assignments:\n  0: [0, 1"), "',' or ']' is required"));
  CHECK(contains(refusal("num_slots: 2\ninitial_global_assignments:\n  0: []\n"), "an integer in"));
  CHECK(contains(refusal("--- !!python/object:os.system\n"), "byte 0 (line 1, column 1)"));
}

TEST_CASE("vllm-ascend: devices in order, counts that agree, uneven devices kept") {
  std::string const good = R"({"moe_layer_count":1,"layer_list":[{"layer_id":5,"device_count":2,"device_list":[
    {"device_id":0,"device_expert":[0]},{"device_id":1,"device_expert":[1,0]}]}]})";
  CHECK(read(good).placement == kUneven);
  CHECK(read(good).first_layer == 5);
  auto const with = [&](std::string const& from, std::string const& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  CHECK(contains(refusal(with("\"moe_layer_count\":1", "\"moe_layer_count\":2")), "$.layer_list: found an array of 1"));
  CHECK(contains(refusal(with("\"device_count\":2", "\"device_count\":3")), "$.layer_list[0].device_list"));
  CHECK(contains(refusal(with("\"device_id\":1", "\"device_id\":0")), "device_list[1].device_id: found 0"));
  CHECK(contains(refusal(with("[1,0]", "[1,-1]")), "device_expert[1]: found -1"));
  CHECK(contains(refusal(with("\"layer_id\":5", "\"layer_id\":5,\"x\":1")), "\"x\" is no member"));
}

TEST_CASE("vLLM: mapping record, statistics, state with counts that lie") {
  std::string const map = R"({"record_type":"session_metadata"}
{"record_type":"eplb_initial_mapping","version":1,"num_redundant_experts":1,"num_slots":4,"initial_global_assignments":{"0":[0,1,2,0],"1":[2,2,1,0]}})";
  CHECK(read(map, 0, 2).placement == kPlacement);
  CHECK(contains(refusal(map, 4), "the file is for 3 experts, 4 were asked for"));
  std::string wrong = map;
  wrong.replace(wrong.find("\"1\":"), 4, "\"x\":");
  CHECK(contains(refusal(wrong), "the key of a layer is its number"));
  CHECK(contains(refusal(R"({"record_type":"session_metadata"})"), "none of the 1 records"));
  std::string const stats =
      R"({"record_type":"eplb_load_stats","version":1,"step":1,"num_ranks":2,"expert_load":[[1,1,1,1],[1,1,1,1]],"p2l_map":[[0,1,2,0],[2,2,1,0]]})";
  CHECK(read(stats).placement == kPlacement);
  CHECK(read(stats).format == PlacementFormat::vllm_stats);
  std::string const state =
      R"({"num_moe_layers":3,"num_logical_experts":3,"num_physical_experts":4,"physical_to_logical_map":[[0,1,2,0],[2,2,1,0]]})";
  CHECK(contains(refusal(state), "$.num_moe_layers: found 3, the map has 2"));
}

TEST_CASE("deployment tables") {
  std::string const header = support::npy_header(support::npy_dict("<i4", "2, 2, 2"));
  auto const result = read(header + support::int32_bytes({0, 1, 2, 0, 2, 2, 1, 0}));
  CHECK(result.placement == kPlacement);
  CHECK(contains(refusal(header + support::int32_bytes({0, 1, 2, 0, 2, 2, 1, -2})), "layer 1, slot 3: found -2"));
  std::string const flat = support::npy_header(support::npy_dict("<i4", "2, 2"));
  CHECK(contains(refusal(flat + support::int32_bytes({0, 1, 2, 0})), "found 2 dimensions"));
}

TEST_CASE("routings: records to Megatron's trace and back") {
  std::string const records = R"({"type": "meta", "num_experts": 8}
{"type": "route", "token_idx": 0, "layer": 0, "topk_ids": [5,1], "topk_weights": [0.75,0.25]}
{"type": "route", "token_idx": 1, "layer": 0, "topk_ids": [0,-1], "topk_weights": [1,0]}
{"type": "route", "token_idx": 0, "layer": 1, "topk_ids": [2,3], "topk_weights": [0.5,0.5]}
)";
  auto const trace = parse_route_trace(records, "in", 0);
  CHECK(trace.num_experts == 8);
  CHECK(write_route_trace(trace, RouteFormat::routing_jsonl) == records);
  std::string const megatron = write_route_trace(trace, RouteFormat::megatron_trace);
  auto const again = parse_route_trace(megatron, "in", 8);
  CHECK(again.format == RouteFormat::megatron_trace);
  REQUIRE(again.blocks.size() == 2);
  CHECK(again.blocks[0].ids == trace.blocks[0].ids);
  CHECK(again.blocks[0].weights.empty());
  CHECK(write_route_trace(again, RouteFormat::megatron_trace) == megatron);
  auto const refused = [](std::string const& text) {
    return error_text(ErrorCode::parse, [&] { return parse_route_trace(text, "in", 0); });
  };
  CHECK(contains(refused("layer,expert,load\n0,0,1\n"), "looks like csv"));
  CHECK(contains(refused(R"({"step":0,"block":"mtp","top_indices":[]})"), "no token was routed"));
}
