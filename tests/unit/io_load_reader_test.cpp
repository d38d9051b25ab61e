// SPDX-License-Identifier: Apache-2.0
// Loads from every format. Worked example: two layers of three experts, [[1,2,3],[4,5,6]]. As npy <i4 the header takes
// 128 bytes (10 + 117 + newline) and the elements 24; as CSV rows the same load is "layer,expert,load", "0,0,1", ...
#include <doctest/doctest.h>

#include <cstdlib>

#include "support/error_text.hpp"
#include "support/npy_bytes.hpp"
#include "switchyard/io/load_reader.hpp"
#include "switchyard/io/routing_reader.hpp"

namespace {

using support::contains;
using support::error_text;
using support::npy_dict;
using support::npy_header;
using support::raw_bytes;
using switchyard::ErrorCode;
using switchyard::ExpertLoad;
using switchyard::io::LoadFormat;
using switchyard::io::LoadReadResult;
using switchyard::io::parse_expert_load;
using switchyard::io::parse_routing;
using switchyard::io::to_json;

LoadReadResult parse(std::string_view text, int experts = 0) {
  return parse_expert_load(text, "in", experts);
}
std::string refusal(std::string_view text, int experts = 0) {
  return error_text(ErrorCode::parse, [&] { return parse(text, experts); });
}

ExpertLoad const kTwoByThree(1, 2, 3, {1, 2, 3, 4, 5, 6});
ExpertLoad const kTwoSteps(2, 1, 2, {1, 2, 3, 4});

TEST_CASE("one load, every spelling") {
  struct Case {
    std::string text;
    LoadFormat format;
  };
  std::vector<Case> const cases = {
      {"[[1,2,3],[4,5,6]]", LoadFormat::json},
      {"\xef\xbb\xbf [[[1,2,3.0],[4,5e0,6]]]\r\n", LoadFormat::json},
      {R"({"schema_version":1,"expert_load":[[1,2,3],[4,5,6]]})", LoadFormat::json},
      {"{\n\"expert_load\":[[[1,2,3],[4,5,6]]],\n\"schema_version\":1}\n", LoadFormat::json},
      {R"({"rank":0,"logical_count":[[1,2,3],[4,5,6]],"average_utilization_rate_over_window":null})",
       LoadFormat::sglang_json},
      {"1,2,3\n4,5,6", LoadFormat::csv},
      {"\xef\xbb\xbf"
       "1, 2,3.0\r\n\r\n 4,5,6e0\r\n\r\n",
       LoadFormat::csv},
      {"layer,expert,load\n0,0,1\n0,1,2\n0,2,3\n1,0,4\n1,1,5\n1,2,6\n", LoadFormat::csv},
      {"step,layer,expert,load\n9,4,2,6\n9,4,1,5\n9,4,0,4\n9,3,2,3\n9,3,1,2\n9,3,0,1", LoadFormat::csv},
  };
  for (Case const& good : cases) {
    CAPTURE(good.text);
    LoadReadResult const read = parse(good.text, 3);
    CHECK(read.load == kTwoByThree);
    CHECK(read.format == good.format);
    CHECK(parse(good.text).load == kTwoByThree);
    CHECK(read.records + read.dropped_other + read.dropped_profiling == 0);
  }
  CHECK(parse("[[[1,2]],[[3,4]]]").load == kTwoSteps);
  CHECK(parse("step,layer,expert,load\n0,0,0,1\n0,0,1,2\n1,0,0,3\n1,0,1,4\n").load == kTwoSteps);
}

template <typename T>
void check_npy(std::string_view descr) {
  CAPTURE(descr);
  std::string const elements = raw_bytes<T>({1, 2, 3, 4, 5, 6});
  for (int const version : {1, 2, 3}) {
    LoadReadResult const read = parse(npy_header(npy_dict(descr, "2, 3"), version) + elements);
    CHECK(read.load == kTwoByThree);
    CHECK(read.format == LoadFormat::npy);
  }
  CHECK(parse(npy_header(npy_dict(descr, "2, 1, 2,")) + raw_bytes<T>({1, 2, 3, 4})).load == kTwoSteps);
}

TEST_CASE("npy: every element type and version") {
  check_npy<std::int8_t>("|i1");
  check_npy<std::uint8_t>("|u1");
  check_npy<std::int16_t>("<i2");
  check_npy<std::uint16_t>("<u2");
  check_npy<std::int32_t>("<i4");
  check_npy<std::uint32_t>("<u4");
  check_npy<std::int64_t>("<i8");
  check_npy<std::uint64_t>("<u8");
  check_npy<float>("<f4");
  check_npy<double>("<f8");
  CHECK(npy_header(npy_dict("<i4", "2, 3")).size() == 128);
}

TEST_CASE("routing records: profiling and meta records are left out and counted") {
  std::string const text =
      "{\"type\":\"meta\",\"model_id\":\"m\"}\n"
      "{\"type\":\"route\",\"layer\":3,\"topk_ids\":[1,0]}\n"
      "{\"type\":\"route\",\"layer\":4,\"topk_ids\":[0,1]}\r\n"
      "{\"type\":\"route\",\"layer\":3,\"topk_ids\":[2,0],\"topk_weights\":[0.75,0.25]}\n"
      "\n"
      "{\"layer\":4,\"topk_ids\":[3,-1],\"topk_weights\":[1,0]}\n"
      "{\"type\":\"end\"}\n"
      "{\"type\":\"route\",\"layer\":3,\"topk_ids\":[0,1],\"topk_weights\":[0.5,0.5]}";  // a real token: not leading
  LoadReadResult const read = parse(text);
  CHECK(read.format == LoadFormat::jsonl_routing);
  CHECK(read.load == ExpertLoad(1, 2, 4, {2, 1, 1, 0, 0, 0, 0, 1}));
  CHECK(read.records == 3);
  CHECK(read.dropped_profiling == 2);
  CHECK(read.dropped_other == 2);
  CHECK(parse(text, 6).load == ExpertLoad(1, 2, 6, {2, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0}));
  CHECK(contains(refusal(text, 3), "$.topk_ids[0]: found 3, expert ids must be below the expert count 3"));

  auto const routing = parse_routing(text, "in", 3, 0);
  CHECK(routing.routing == switchyard::RoutingMap::from_topk(2, 3, 2, {2, 0, 0, 1}, {0.75F, 0.25F, 0.5F, 0.5F}));
  CHECK(routing.other_layers == 1);
  CHECK(routing.dropped_profiling == 2);
  CHECK(contains(error_text(ErrorCode::parse, [&] { return parse_routing(text, "in", 7, 0); }),
                 "no routing record of layer 7"));
}

TEST_CASE("routing records: a count holds for records that are left out, and for those before it") {
  std::string const text = "{\"layer\":0,\"topk_ids\":[1,0]}\n{\"layer\":0,\"topk_ids\":[0,0]}\n";
  CHECK(parse(text).dropped_profiling == 1);
  CHECK(parse(text).load == ExpertLoad(1, 1, 2, {2, 0}));
  CHECK(contains(refusal(text, 1), "expert ids must be below the expert count 1"));
  CHECK(contains(refusal("{\"layer\":0,\"topk_ids\":[5,0]}\n{\"type\":\"meta\",\"num_experts\":3}\n"),
                 "a record before this names expert 5"));
}

TEST_CASE("routing records: a stated expert count is used and must agree") {
  std::string const text = "{\"type\":\"meta\",\"num_experts\":4}\n{\"type\":\"route\",\"layer\":0,\"topk_ids\":[2]}\n";
  CHECK(parse(text).load == ExpertLoad(1, 1, 4, {0, 0, 1, 0}));
  CHECK(contains(refusal(text, 5), "byte 29 (line 1, column 30): $.num_experts: found 4, 5 experts were asked for"));
}

TEST_CASE("writing: integers as integers, fractions shortest, same bytes back") {
  ExpertLoad const load(2, 2, 2, {0, 1, 0.1, 1e-300, 9007199254740992.0, 123456789, 2.5, 1.0 / 3});
  std::string const text = to_json(load);
  CHECK(text ==
        "{\"schema_version\": 1, \"expert_load\": [\n[[0,1],\n [0.1,1e-300]],\n"
        "[[9007199254740992,123456789],\n [2.5,0.3333333333333333]]\n]}\n");
  CHECK(parse(text).load == load);
  CHECK(to_json(parse(text).load) == text);
  CHECK(
      contains(error_text(ErrorCode::invalid_argument, [] { return to_json(ExpertLoad(1, 1, 1, {1e17})); }), "1e+17"));
}

TEST_CASE("the published OLMoE recording") {
  char const* const folder = std::getenv("SWITCHYARD_DATA_DIR");
  if (folder == nullptr) {
    MESSAGE("skipped: SWITCHYARD_DATA_DIR is not set");
    return;
  }
  std::string const path = std::string(folder) + "/olmoe_layer0_gsm8k.jsonl";
  LoadReadResult const read = switchyard::io::read_expert_load(path, 0);
  CHECK(read.load.num_layers() == 1);
  CHECK(read.load.num_experts() == 64);
  CHECK(read.records + read.dropped_profiling == 6519);
  CHECK(read.dropped_profiling == 2048);
  CHECK(read.dropped_other == 1);
  double total = 0;
  for (double const load : read.load.values()) total += load;
  CHECK(total == 8.0 * 4471);
  auto const routing = switchyard::io::read_routing(path, 0, 64);
  CHECK(routing.routing.num_tokens() == 4471);
  CHECK(routing.routing.top_k() == 8);
}

}  // namespace
