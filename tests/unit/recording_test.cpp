// SPDX-License-Identifier: Apache-2.0
// Recordings of somebody's dispatcher against the reference: equal ones pass, one wrong integer is found and named.
//
// Worked example (the grid of docs/formats/dispatch-plan.md): tp 2 x ep 2, 4 experts, two tokens per rank that chose
// r0 {0,2} {2,3}, r1 {0,3} {0,1}, r2 {0,2} {0,1}, r3 {0,1} {0,3}. The lists below were worked out by hand.
#include "switchyard/dispatch/recording.hpp"

#include <doctest/doctest.h>

#include "oracle/dispatch_oracle.hpp"
#include "support/dispatch_cases.hpp"
#include "support/error_text.hpp"
#include "switchyard/dispatch/row_tags.hpp"
#include "switchyard/io/dispatch_group_jsonl.hpp"
#include "switchyard/io/recording_jsonl.hpp"

using namespace switchyard;
using support::contains;
using support::error_text;

namespace {

std::string const kRecordings =
    R"({"type":"dispatch","schema_version":1,"rank":0,"tp":2,"ep":2,"num_experts":4,"routing":[[0,2],[2,3]],)"
    R"("num_out_tokens":4,"permutation":[0,0,1,1],"input_splits":[1,3],"output_splits":[1,3],)"
    R"("output_splits_tp":[4,6],"tokens_per_local_expert":[7,3],)"
    R"("num_global_tokens_per_local_expert":[[[1,0],[2,1]],[[2,1],[2,1]]],)"
    R"("sort_input_by_local_experts":[0,2,4,6,1,3,5,7],"restore_output_by_local_experts":[0,4,1,5,2,6,3,7],)"
    R"("row_tags":[[0,0],[2,0],[2,1],[1,0],[1,1],[3,0],[3,1],[2,1],[1,1],[3,0]]})"
    "\n"
    R"({"type":"meta","recorder":"by hand"})"
    "\n\n"
    R"({"type":"dispatch","schema_version":1,"rank":1,"tp":2,"ep":2,"num_experts":4,"routing":[[0,3],[0,1]],)"
    R"("input_splits":[3,1],"output_splits":[3,3],"output_splits_tp":[4,6],"tokens_per_local_expert":[7,3]})"
    "\n"
    R"({"type":"dispatch","schema_version":1,"rank":2,"tp":2,"ep":2,"num_experts":4,"routing":[[0,2],[0,1]],)"
    R"("input_splits":[3,1],"output_splits":[3,1],"output_splits_tp":[4,2],"tokens_per_local_expert":[3,3],)"
    R"("row_tags":[[0,0],[0,1],[2,0],[0,1],[1,0],[3,1]]})"
    "\n"
    R"({"type":"dispatch","schema_version":1,"rank":3,"tp":2,"ep":2,"num_experts":4,"routing":[[0,1],[0,3]],)"
    R"("input_splits":[3,1],"output_splits":[1,1],"output_splits_tp":[4,2],"tokens_per_local_expert":[3,3],)"
    R"("rows_per_slot":[2,1,0,1]})";

std::vector<DispatchRecording> recorded() {
  auto read = io::parse_recordings(kRecordings, "dump.jsonl");
  REQUIRE(read.calls.size() == 4);
  CHECK(read.dropped_other == 1);
  return read.calls;
}

std::string refused(std::string text) {
  return error_text(ErrorCode::parse, [&] { return io::parse_recordings(text, "dump.jsonl"); });
}

std::string replaced(std::string text, std::string const& from, std::string const& to) {
  auto const at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("the worked example passes, with every field compared") {
  auto const report = check_recordings(recorded());
  CHECK_FALSE(report.first_mismatch);
  CHECK(report.fields.size() == 11);  // all that Megatron's AlltoAll has
  // Rank 0: 1 + 4 + 2 + 2 + 2 + 8 + 2 + 8 + 8 + 20; the others 4 lists of two; rank 2's 6 tags, rank 3's 4 counts.
  CHECK(report.integers_compared == 57 + 3 * 8 + 12 + 4);
}

TEST_CASE("every recorded integer counts: changing one is found at its rank, field and index") {
  auto const good = recorded();
  int changed = 0;
  for (std::size_t rank = 0; rank < good.size(); ++rank) {
    for (std::size_t field = 0; field < good[rank].fields.size(); ++field) {
      for (std::size_t i = 0; i < good[rank].fields[field].values.size(); ++i) {
        auto calls = good;
        auto const was = calls[rank].fields[field].values[i]++;
        auto const report = check_recordings(calls);
        REQUIRE(report.first_mismatch);
        CHECK(report.first_mismatch->rank.index() == rank);
        CHECK(report.first_mismatch->field == good[rank].fields[field].name);
        CHECK(report.first_mismatch->index == static_cast<std::int64_t>(i));
        CHECK(report.first_mismatch->expected == was);
        CHECK(report.first_mismatch->got == was + 1);
        ++changed;
      }
    }
  }
  CHECK(changed == 97);
}

TEST_CASE("of several mistakes the earliest in the dispatcher's own order is named, then the lowest rank") {
  auto calls = recorded();
  calls[0].fields.back().values[0] = 9;   // row_tags
  calls[3].fields.front().values[1] = 9;  // input_splits
  calls[2].fields.front().values[0] = 9;  // input_splits
  auto const mismatch = check_recordings(calls).first_mismatch;
  REQUIRE(mismatch);
  CHECK(mismatch->field == "input_splits");
  CHECK(mismatch->rank == RankId{2});
}

TEST_CASE("lists of another length, and fields that Megatron leaves unset") {
  auto calls = recorded();
  calls[1].fields[0].values.push_back(5);
  auto mismatch = check_recordings(calls).first_mismatch;
  REQUIRE(mismatch);
  CHECK(mismatch->index == 2);
  CHECK_FALSE(mismatch->expected);
  CHECK(mismatch->got == 5);
  calls = recorded();
  calls[1].fields[0].values.clear();
  mismatch = check_recordings(calls).first_mismatch;
  REQUIRE(mismatch);
  CHECK(mismatch->expected == 3);
  CHECK_FALSE(mismatch->got);

  DispatchRecording alone;  // one rank: no splits at all
  alone.num_experts = 2;
  alone.routing = RoutingMap::from_topk(1, 2, 1, {1}, {0});
  alone.fields = {{"input_splits", {1}}};
  mismatch = check_recordings(std::span(&alone, 1)).first_mismatch;
  REQUIRE(mismatch);
  CHECK(mismatch->index == 0);
  CHECK_FALSE(mismatch->expected);
  alone.fields = {{"tokens_per_local_expert", {0, 1}}, {"row_tags", {0, 0}}};
  CHECK_FALSE(check_recordings(std::span(&alone, 1)).first_mismatch);
}

TEST_CASE("recordings that are no group are refused with the ranks and values") {
  auto const refused_group = [](auto const& calls) {
    return error_text(ErrorCode::shape_mismatch, [&] { return check_recordings(calls); });
  };
  auto calls = recorded();
  calls.pop_back();
  CHECK(contains(refused_group(calls), "3 ranks are recorded, tp 2 x ep 2 has 4"));
  calls = recorded();
  std::swap(calls[1], calls[2]);
  CHECK(contains(refused_group(calls), "recording 1 is that of rank 2"));
  calls = recorded();
  calls[3].layer = 7;
  CHECK(contains(refused_group(calls), "rank 0 records layer 0, rank 3 records 7"));
  calls = recorded();
  calls[2].slots_per_rank = {2, 2};
  CHECK(contains(refused_group(calls), "different placements"));
  CHECK(contains(refused_group(std::vector<DispatchRecording>{}), "no recording"));
}

TEST_CASE("a recording survives its text") {
  for (auto const& call : recorded()) {
    auto const text = io::to_jsonl(call);
    auto const read = io::parse_recordings(text, "again").calls;
    REQUIRE(read.size() == 1);
    CHECK(read[0].routing == call.routing);
    CHECK(read[0].fields == call.fields);
    CHECK(io::to_jsonl(read[0]) == text);
  }
  auto call = recorded()[0];
  call.slots_per_rank = {3, 1};
  call.slot_to_expert = {0, 1, -1, 2};
  call.capacity = CapacityLimit{4, true};
  call.row_order = RowOrder::rank_major;
  auto const read = io::parse_recordings(io::to_jsonl(call), "again").calls.front();
  CHECK(read.slots_per_rank == call.slots_per_rank);
  CHECK(read.slot_to_expert == call.slot_to_expert);
  CHECK(read.capacity == call.capacity);
  CHECK(read.row_order == call.row_order);
}

TEST_CASE("malformed recordings are refused with line, path and fix") {
  CHECK(contains(refused(kRecordings.substr(0, 300)), "dump.jsonl"));
  CHECK(contains(refused("[]"), "dump.jsonl"));
  CHECK(contains(refused(replaced(kRecordings, "input_splits", "input_split")), "known are rows_per_slot"));
  CHECK(contains(refused(replaced(kRecordings, "\"rank\":3", "\"rank\":4")), "line 6"));
  CHECK(contains(refused(replaced(kRecordings, "[[0,2],[2,3]]", "[[0,4],[2,3]]")), "$.routing[0][1]"));
  CHECK(contains(refused(replaced(kRecordings, "\"schema_version\":1", "\"schema_version\":2")), "version 1"));
  CHECK(contains(refused(replaced(kRecordings, "\"num_experts\":4", "\"num_experts\":4,\"row_order\":\"x\"")),
                 "rank_major or tp_major"));
  CHECK(contains(refused(replaced(kRecordings, "\"num_experts\":4", "\"num_experts\":4,\"slot_to_expert\":[0]")),
                 "slots_per_rank"));
  CHECK(contains(refused(replaced(kRecordings, "\"tp\":2,\"ep\":2", "\"tp\":65536,\"ep\":65536")), "65,536 ranks"));
  CHECK(contains(refused(replaced(kRecordings, "[1,3]", "[1,3.5]")), "$.input_splits"));
  CHECK(io::parse_recordings("", "empty").calls.empty());
}

TEST_CASE("one altered character is read, or refused with an Error: never anything else") {
  int read = 0;
  int refusals = 0;
  for (std::size_t at = 0; at < kRecordings.size(); ++at) {
    for (char const character : {'9', '-', ',', '[', '"'}) {
      auto text = kRecordings;
      text[at] = character;
      CAPTURE(at);
      try {
        auto const calls = io::parse_recordings(text, "altered").calls;
        (void)check_recordings(calls);
        ++read;
      } catch (Error const&) {
        ++refusals;
      }
    }
  }
  CHECK(read > 100);
  CHECK(refusals > 100);
}

TEST_CASE("a recorded placement far up in the layers is refused before anything is allocated") {
  for (auto const& slots : {std::vector<std::int32_t>{2, 2}, std::vector<std::int32_t>{0, 0}}) {
    auto calls = recorded();
    for (auto& call : calls) {
      call.slots_per_rank = slots;
      call.slot_to_expert = slots[0] == 0 ? std::vector<std::int32_t>{} : std::vector<std::int32_t>{0, 1, 2, 3};
      call.layer = INT32_MAX;
    }
    CHECK(
        contains(error_text(ErrorCode::unsupported, [&] { return check_recordings(calls); }), "record it as layer 0"));
    for (auto& call : calls) call.layer = 6;
    if (slots[0] > 0) CHECK_FALSE(check_recordings(calls).first_mismatch);
  }
}

TEST_CASE("expected tags equal the oracle's lists: random grids, placements, orders and routings") {
  support::Random random(17);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    oracle::DispatchCase input;
    input.tp = 1 + support::draw(random, 3);
    input.ep = 1 + support::draw(random, 3);
    input.rank_major = support::draw(random, 2) == 0;
    int const experts = 1 + support::draw(random, 6);
    int const top_k = 1 + support::draw(random, 3);
    input.experts_of_ep = support::random_experts(random, input.ep, experts);
    for (int rank = 0; rank < input.tp * input.ep; ++rank)
      input.routing.push_back(
          support::random_tokens(random, support::draw(random, 5), experts, top_k, true, round % 2 == 0));
    auto const routings = support::routings_of(input, experts, top_k);
    auto const plans =
        plan_alltoall_group(support::config_of(input), routings, support::placement_of(input, experts), 0);
    oracle::DispatchOracle const expected(input);
    for (std::size_t rank = 0; rank < plans.size(); ++rank) {
      std::vector<RowTag> tags;
      for (auto const& row : expected.ranks()[rank].sorted) tags.push_back({RankId{row.source}, row.token});
      CHECK(expected_row_tags(plans, plans[rank].rank) == tags);
    }
    auto const text = io::to_jsonl(plans);
    CHECK(io::plan_lines(text).size() == plans.size());
    CHECK(io::dispatch_group_from_jsonl(text, "group") == plans);
  }
}

TEST_CASE("tags of what is no group, and a group file with a broken line") {
  auto const plans = reference_plans(recorded());
  CHECK(contains(
      error_text(ErrorCode::shape_mismatch, [&] { return expected_row_tags(std::span(plans).first(3), RankId{0}); }),
      "3 plans are no group"));
  auto broken = plans;
  broken[1].rows_per_slot[0] += 1;
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [&] { return expected_row_tags(broken, RankId{0}); }),
                 "rank 1 permutes 4 rows but counts 5"));
  CHECK(contains(
      error_text(ErrorCode::parse, [&] { return io::dispatch_group_from_jsonl(io::to_jsonl(plans) + "{}\n", "g"); }),
      "g, plan 4"));
}
