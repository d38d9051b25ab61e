// SPDX-License-Identifier: Apache-2.0
// Loads of vLLM, TensorRT-LLM and Megatron, and every format that is written. Worked example: two steps of two layers
// of three experts; every format that keeps steps must give it back.
#include <doctest/doctest.h>

#include <cstring>

#include "support/error_text.hpp"
#include "support/npy_bytes.hpp"
#include "support/torch_bytes.hpp"
#include "switchyard/io/load_reader.hpp"
#include "switchyard/io/load_writer.hpp"

namespace {

using support::contains;
using support::error_text;
using support::little;
using switchyard::ErrorCode;
using switchyard::ExpertLoad;
using switchyard::io::LoadFormat;
using switchyard::io::LoadOutput;
using switchyard::io::parse_expert_load;
using switchyard::io::write_load;

std::string refusal(std::string const& text, int experts = 0) {
  return error_text(ErrorCode::parse, [&] { return parse_expert_load(text, "in", experts); });
}

ExpertLoad const kLoad(2, 2, 3, {1, 2, 3, 4, 5, 6, 70, 80, 90, 0, 0, 9007199254740992.0});
ExpertLoad const kFractions(1, 1, 2, {0.1, 3});

/// @param tensors name -> (type, shape, begin, end), as the header spells them.
std::string safetensors(std::string const& header, std::string const& data) {
  return little(header.size(), 8) + header + data;
}
std::string one_tensor(std::string const& name, std::string const& type, std::string const& shape, int bytes) {
  return R"({")" + name + R"(":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":[0,)" +
         std::to_string(bytes) + "]}}";
}

std::string const kStats = R"({"record_type":"session_metadata","version":1}
{"record_type":"eplb_load_stats","version":1,"step":10,"num_ranks":2,"expert_load":[[5,7,2,9]],"p2l_map":[[0,1,0,-1]]}
{"record_type":"eplb_load_stats","version":1,"step":20,"num_ranks":2,"num_layers":1,"expert_load":[[1,1,1,1]],"p2l_map":[[2,1,0,0]],"tokens":[[3,3]]}
)";

std::string const kTrace =
    R"({"step":4,"stage":"pre_dispatch","block":"decoder","layer":3,"rank":0,"num_tokens":2,"topk":2,"top_indices":[[0,2],[1,-1]]}
{"step":4,"stage":"pre_dispatch","block":"mtp","mtp_idx":0,"layer":0,"rank":0,"num_tokens":1,"topk":2,"top_indices":[[0,1]]}
{"step":4,"stage":"pre_dispatch","block":"decoder","layer":4,"rank":0,"num_tokens":0,"topk":2,"top_indices":[]}
{"step":4,"stage":"pre_dispatch","block":"decoder","layer":3,"rank":1,"num_tokens":1,"topk":2,"top_indices":[[2,1]]}
)";

}  // namespace

TEST_CASE("every writer's text is read back equal") {
  struct Case {
    LoadOutput output;
    LoadFormat format;
  };
  for (Case const& c : {Case{LoadOutput::json, LoadFormat::json},
                        Case{LoadOutput::sglang_json, LoadFormat::sglang_json}, Case{LoadOutput::npy, LoadFormat::npy},
                        Case{LoadOutput::csv, LoadFormat::csv}, Case{LoadOutput::vllm_stats, LoadFormat::vllm_stats},
                        Case{LoadOutput::trtllm_stats, LoadFormat::trtllm_stats}}) {
    CAPTURE(to_string(c.output));
    std::string const text = write_load(kLoad, c.output, 3);
    CHECK(text == write_load(kLoad, c.output, 3));
    auto const read = parse_expert_load(text, "in", 3);
    CHECK(read.load == kLoad);
    CHECK(read.format == c.format);
    bool const has_ids = c.output == LoadOutput::csv || c.output == LoadOutput::trtllm_stats;
    CHECK(read.first_layer == (has_ids ? 3 : 0));
  }
}

TEST_CASE("fractions survive where the format has them and are refused where it has not") {
  for (LoadOutput const output : {LoadOutput::json, LoadOutput::sglang_json, LoadOutput::npy, LoadOutput::csv})
    CHECK(parse_expert_load(write_load(kFractions, output), "in", 2).load == kFractions);
  for (LoadOutput const output : {LoadOutput::vllm_stats, LoadOutput::trtllm_stats})
    CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return write_load(kFractions, output); }),
                   "layer 0, expert 0: load 0.1 is a fraction"));
}

TEST_CASE("npy of half precision") {
  std::string const header = support::npy_header(support::npy_dict("<f2", "1, 3"));
  // 1.0, 65504 (the largest), 2^-24 (the smallest subnormal)
  std::string const data = little(0x3c00, 2) + little(0x7bff, 2) + little(0x0001, 2);
  CHECK(parse_expert_load(header + data, "in", 3).load == ExpertLoad(1, 1, 3, {1, 65504, 0x1p-24}));
  CHECK(contains(refusal(header + little(0x7c00, 2) + little(0, 4)), "expert 0: found inf"));
}

TEST_CASE("vLLM statistics: replicas add up, empty slots are left out, each record has its own map") {
  auto const read = parse_expert_load(kStats, "in", 0);
  CHECK(read.format == LoadFormat::vllm_stats);
  CHECK(read.load == ExpertLoad(2, 1, 3, {7, 7, 0, 2, 1, 1}));
  CHECK(read.records == 2);
  CHECK(read.dropped_other == 1);
  CHECK(parse_expert_load(kStats, "in", 5).load.num_experts() == 5);
  CHECK(contains(refusal(kStats, 2), "$.p2l_map[0][0]: found 2, ids must be below the expert count 2"));
  std::string const head = R"({"record_type":"eplb_load_stats","version":1,"step":1,"num_ranks":1,)";
  CHECK(contains(refusal(head + R"("expert_load":[[1,2]],"p2l_map":[[0]]})"), "$.p2l_map[0]: found an array of 1"));
  CHECK(contains(refusal(head + R"("expert_load":[[1.5]],"p2l_map":[[0]]})"), "$.expert_load[0][0]: found 1.5"));
  CHECK(contains(refusal(head + R"("num_layers":2,"expert_load":[[1]],"p2l_map":[[0]]})"), "expert_load has 1 layers"));
  CHECK(contains(refusal(R"({"record_type":"eplb_load_stats","version":2})"), "version 1 are read"));
  CHECK(contains(refusal(R"({"record_type":"bench_run_start"})"), "no record of type \"eplb_load_stats\""));
  CHECK(contains(refusal(kStats.substr(0, kStats.size() - 20)), "in: byte "));
}

TEST_CASE("TensorRT-LLM statistics: tensors iteration_layer, in any order of names") {
  std::string const header = R"({"__metadata__":{"a":"b"},"7_4":{"dtype":"I32","shape":[2],"data_offsets":[8,16]},)"
                             R"("7_3":{"dtype":"I64","shape":[2],"data_offsets":[16,32]},)"
                             R"("6_3":{"dtype":"I32","shape":[2],"data_offsets":[0,8]},)"
                             R"("6_4":{"dtype":"U8","shape":[2],"data_offsets":[32,34]}})";
  std::string const data =
      support::int32_bytes({1, 2, 3, 4}) + little(5, 8) + little(6, 8) + little(7, 1) + little(8, 1);
  auto const read = parse_expert_load(safetensors(header, data), "in", 0);
  CHECK(read.load == ExpertLoad(2, 2, 2, {1, 2, 7, 8, 5, 6, 3, 4}));
  CHECK(read.first_layer == 3);
  CHECK(read.format == LoadFormat::trtllm_stats);
}

TEST_CASE("safetensors: holes, overlaps, lengths and shapes that lie are refused") {
  CHECK(contains(refusal(safetensors(one_tensor("0_0", "I32", "[2]", 8), std::string(12, '\0'))), "tensors end here"));
  CHECK(contains(refusal(safetensors(one_tensor("0_0", "I32", "[2]", 8), std::string(4, '\0'))),
                 ".data_offsets[1]: found 8, an integer in [0, 4]"));
  CHECK(contains(refusal(safetensors(one_tensor("0_0", "I32", "[3]", 8), std::string(8, '\0'))), "need 12"));
  CHECK(
      contains(refusal(safetensors(one_tensor("0_0", "I32", "[1099511627776,1099511627776]", 8), std::string(8, '\0'))),
               "overflows 63 bits"));
  CHECK(contains(refusal(safetensors(one_tensor("0_0", "C64", "[1]", 8), std::string(8, '\0'))), "found \"C64\""));
  CHECK(
      contains(refusal(safetensors(one_tensor("w1.weight", "I32", "[2]", 8), std::string(8, '\0'))), "\"w1.weight\""));
  CHECK(contains(refusal(safetensors(one_tensor("0_0", "F32", "[2]", 8), little(0x7fc00000, 4) + little(0, 4))),
                 "found nan"));
  std::string const overlap = R"({"0_0":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},)"
                              R"("0_1":{"dtype":"I32","shape":[1],"data_offsets":[2,6]}})";
  CHECK(contains(refusal(safetensors(overlap, std::string(6, '\0'))), "neither overlap nor leave a hole"));
  CHECK(contains(refusal(little(1000, 8) + "{}"), "is said to have 1000 bytes, 2 follow"));
  CHECK(contains(refusal(safetensors("{}", "")), "no tensor"));
  std::string const good = write_load(kLoad, LoadOutput::trtllm_stats);
  for (std::size_t length = 9; length < good.size(); length += 3) {
    CAPTURE(length);
    CHECK(contains(refusal(good.substr(0, length)), "in: "));
  }
}

TEST_CASE("Megatron traces: ranks add up, other blocks are skipped, every step needs every layer") {
  auto const read = parse_expert_load(kTrace, "in", 0);
  CHECK(read.format == LoadFormat::megatron_trace);
  CHECK(read.load == ExpertLoad(1, 2, 3, {1, 2, 2, 0, 0, 0}));
  CHECK(read.first_layer == 3);
  CHECK(read.records == 3);
  CHECK(read.dropped_other == 1);
  std::string const next =
      R"({"step":5,"block":"decoder","layer":3,"rank":0,"num_tokens":1,"topk":1,"top_indices":[[0]]})";
  CHECK(contains(refusal(kTrace + next), "only 3 of them have a record"));
  CHECK(contains(refusal(kTrace, 2), "$.top_indices[0][1]: found 2"));
  CHECK(contains(
      refusal(R"({"step":5,"block":"decoder","layer":3,"rank":0,"num_tokens":2,"topk":1,"top_indices":[[0]]})"),
      "an array of 2 is required"));
  CHECK(contains(refusal(R"({"block":"mtp","top_indices":[]})"), "no record of the decoder"));
}
