// SPDX-License-Identifier: Apache-2.0
// Recordings of every dispatch family: sound ones pass, and every single changed integer is found at its rank, field
// and index. Row tags of bins and hidden shards against lists that are moved from rank to rank.
//
// By hand (the example of docs/formats/recording.md, rank 0 of tp 2 x ep 2): AllGather's rank 0 holds experts 0 and 1
// and gathers two tokens of each of four ranks, token t of rank r as row 2 r + t. Expert 0 was chosen by r0 t0, r1 t0,
// r1 t1, r2 t0, r2 t1, r3 t0, r3 t1: its expansion starts 0 2 3 4 5 6 7; expert 1 by r1 t1, r2 t1, r3 t0: 3 5 6.
// Flex's rank 0 sends token 0 to ranks 0 and 1 (expert 0) and to 2 and 3 (expert 2), token 1 to 2 and 3: [0,0,0,1,0,1].
// MegaBlocks cuts the four ranks into two expert blocks with two hidden shards; rank 0's flat slots by expert are 0
// (expert 0), 1 and 2 (expert 2), 3 (expert 3).
#include <doctest/doctest.h>

#include <set>

#include "oracle/dispatch_families_oracle.hpp"
#include "support/dispatch_cases.hpp"
#include "support/dispatch_examples.hpp"
#include "support/error_text.hpp"
#include "switchyard/dispatch/recording.hpp"
#include "switchyard/dispatch/row_tags.hpp"
#include "switchyard/io/recording_jsonl.hpp"

using namespace switchyard;
using support::contains;
using support::error_text;
using support::Ints;

namespace {

struct FamilyCase {
  DispatchFamily family;
  RowOrder order;
  RecordedBins bins{};
};

std::vector<FamilyCase> all_cases() {
  return {{DispatchFamily::megatron_alltoall, RowOrder::tp_major},
          {DispatchFamily::megatron_alltoall, RowOrder::rank_major},
          {DispatchFamily::megatron_allgather, RowOrder::rank_major},
          {DispatchFamily::megatron_allgather, RowOrder::tp_major},
          {DispatchFamily::megatron_flex, RowOrder::rank_major},
          {DispatchFamily::megatron_flex, RowOrder::tp_major},
          {DispatchFamily::megablocks, RowOrder::rank_major},
          {DispatchFamily::megablocks, RowOrder::rank_major, {ExpertBins::blocks, 4, 0}},
          {DispatchFamily::megablocks, RowOrder::rank_major, {ExpertBins::capacity, 0, 0}},
          {DispatchFamily::megablocks, RowOrder::rank_major, {ExpertBins::capacity, 0, 0.25}}};
}

/// The worked example, recorded by a dispatcher without mistakes, through the text form.
std::vector<DispatchRecording> recorded(FamilyCase const& with, ExpertParallelGrid grid = {2, 2}) {
  std::vector<DispatchRecording> calls;
  auto const routings = support::worked_routing();
  for (int rank = 0; rank < grid.world(); ++rank) {
    DispatchRecording call;
    call.rank = RankId{rank};
    call.grid = grid;
    call.family = with.family;
    call.row_order = with.order;
    call.bins = with.bins;
    call.num_experts = 4;
    call.routing = routings[static_cast<std::size_t>(rank)];
    calls.push_back(call);
  }
  auto const plans = reference_plans(calls);
  std::string text;
  for (auto& call : calls) {
    call.fields = reference_fields(plans, call.rank);
    text += io::to_jsonl(call);
  }
  auto read = io::parse_recordings(text, "recorded").calls;
  REQUIRE(read.size() == calls.size());
  for (std::size_t rank = 0; rank < calls.size(); ++rank) CHECK(read[rank].fields == calls[rank].fields);
  return read;
}

Ints field(DispatchRecording const& call, std::string_view name) {
  for (auto const& one : call.fields)
    if (one.name == name) return one.values;
  return {-7};
}

/// Changes every recorded integer by one. @return how many.
int check_every_integer(std::vector<DispatchRecording> const& good) {
  int changed = 0;
  for (std::size_t rank = 0; rank < good.size(); ++rank)
    for (std::size_t at = 0; at < good[rank].fields.size(); ++at)
      for (std::size_t i = 0; i < good[rank].fields[at].values.size(); ++i) {
        auto calls = good;
        auto const was = calls[rank].fields[at].values[i]++;
        auto const found = check_recordings(calls).first_mismatch;
        REQUIRE(found);
        CHECK(found->rank.index() == rank);
        CHECK(found->field == good[rank].fields[at].name);
        CHECK(found->index == static_cast<std::int64_t>(i));
        CHECK(found->expected == was);
        CHECK(found->got == was + 1);
        ++changed;
      }
  return changed;
}

}  // namespace

TEST_CASE("the worked example by hand, in the words of every family") {
  auto const allgather = recorded(all_cases()[2]);
  CHECK(field(allgather[0], "gathered_tokens") == Ints{2, 2, 2, 2});
  CHECK(field(allgather[0], "expansion") == Ints{0, 2, 3, 4, 5, 6, 7, 3, 5, 6});
  auto const flex = recorded(all_cases()[4]);
  CHECK(field(flex[0], "permutation") == Ints{0, 0, 0, 1, 0, 1});
  CHECK(field(flex[0], "input_splits") == Ints{1, 1, 2, 2});
  CHECK(field(flex[0], "output_splits") == Ints{1, 2, 2, 2});
  auto const megablocks = recorded(all_cases()[6]);
  CHECK(field(megablocks[0], "indices") == Ints{0, 1, 2, 3});
  CHECK(field(megablocks[0], "bin_ids") == Ints{0, 2, 2, 3});
  CHECK(field(megablocks[0], "bins") == Ints{1, 1, 3, 4});
  CHECK(field(megablocks[0], "input_splits") == Ints{1, 3, 1, 3});
  CHECK(field(megablocks[0], "output_splits") == Ints{1, 3, 3, 3});
  CHECK(field(megablocks[0], "num_global_tokens_per_local_expert") == Ints{1, 0, 2, 1, 2, 1, 2, 1});
  CHECK(field(megablocks[0], "sort_rows") == Ints{0, 1, 2, 4, 5, 7, 8, 3, 6, 9});
  auto const blocks = recorded(all_cases()[7]);
  CHECK(field(blocks[0], "bin_rows") == Ints{0, 1, 2, 3, 4, 5, 6, -1, 7, 8, 9, -1});
  CHECK(field(blocks[2], "row_tags") == field(blocks[0], "row_tags"));  // the other hidden shard
}

TEST_CASE("every family: sound recordings pass, every changed integer is found where it is") {
  std::set<std::string> names;
  for (auto const& with : all_cases()) {
    CAPTURE(std::string(to_string(with.family)));
    CAPTURE(std::string(to_string(with.order)));
    CAPTURE(std::string(to_string(with.bins.kind)));
    auto const good = recorded(with);
    auto const report = check_recordings(good);
    CHECK_FALSE(report.first_mismatch);
    auto const changed = check_every_integer(good);
    CHECK(changed == report.integers_compared);
    CHECK(changed > 100);
    names.insert(report.fields.begin(), report.fields.end());
  }
  CHECK(names.size() == recorded_field_names().size());  // every known field was compared by some family
}

TEST_CASE("one rank alone: forward_once fills its bins at the source, nothing is exchanged") {
  for (auto const& with : all_cases()) {
    CAPTURE(std::string(to_string(with.family)));
    CAPTURE(std::string(to_string(with.bins.kind)));
    auto const good = recorded(with, {1, 1});
    CHECK(field(good[0], "input_splits") == Ints{-7});
    CHECK_FALSE(check_recordings(good).first_mismatch);
    CHECK(check_every_integer(good) > 10);
  }
  // Factor 0.25 of 2 tokens x 2 slots / 4 experts truncates to 0: the fullest expert, 2 rows, sizes the bins.
  auto const tags =
      field(recorded({DispatchFamily::megablocks, RowOrder::rank_major, {ExpertBins::capacity, 0, 0.25}}, {1, 1})[0],
            "row_tags");
  CHECK(tags == Ints{0, 0, -1, -1, -1, -1, -1, -1, 0, 0, 0, 1, 0, 1, -1, -1});
}

TEST_CASE("ranks that disagree about the family or its bins, and what MegaBlocks cannot record") {
  auto calls = recorded(all_cases()[2]);
  calls[3].family = DispatchFamily::megatron_flex;
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [&] { return check_recordings(calls); }),
                 "rank 0 records family 1, rank 3 records 2"));
  calls = recorded(all_cases()[7]);
  calls[1].bins.block_rows = 8;
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [&] { return check_recordings(calls); }),
                 "ranks 0 and 1 record different expert bins"));
  calls = recorded(all_cases()[6]);
  for (auto& call : calls) call.capacity = CapacityLimit{3, false};
  CHECK(contains(error_text(ErrorCode::unsupported, [&] { return check_recordings(calls); }), "and a capacity"));
}

TEST_CASE("malformed families and bins are refused with their path") {
  auto const refused = [](std::string const& members) {
    std::string const head = R"({"type":"dispatch","schema_version":1,"rank":0,"tp":1,"ep":1,"num_experts":1,)";
    return error_text(ErrorCode::parse,
                      [&] { return io::parse_recordings(head + members + R"(,"routing":[[0]]})", "dump.jsonl"); });
  };
  CHECK(contains(refused(R"("family":"deepep")"), "$.family"));
  CHECK(contains(refused(R"("expert_bins":{"kind":"x"})"), "exact, capacity or blocks"));
  CHECK(contains(refused(R"("expert_bins":{"kind":"blocks","block_rows":0})"), "$.expert_bins.block_rows"));
  CHECK(contains(refused(R"("expert_bins":{"kind":"capacity","capacity_factor":-1})"), "0 to 256"));
  CHECK(contains(refused(R"("expert_bins":{"kind":"exact","rows":1})"), "$.expert_bins"));
}

TEST_CASE("MegaBlocks' tags equal lists that are moved: random grids, bins and routings") {
  support::Random random(23);
  int empty = 0;
  int dropped = 0;
  for (int round = 0; round < 200; ++round) {
    CAPTURE(round);
    oracle::DispatchCase input;
    input.tp = 1 + support::draw(random, 3);
    input.ep = 1 + support::draw(random, 3);
    input.rank_major = true;
    int const experts = 1 + support::draw(random, 5);
    int const top_k = 1 + support::draw(random, 3);
    int const tokens = support::draw(random, 5);
    input.experts_of_ep = support::random_experts(random, input.ep, experts);
    for (int rank = 0; rank < input.tp * input.ep; ++rank)
      input.routing.push_back(support::random_tokens(random, tokens, experts, top_k, true, round % 2 == 0));
    MegaBlocksConfig config;
    config.world = input.tp * input.ep;
    config.bins = round % 3 == 0 ? ExpertBins::exact : round % 3 == 1 ? ExpertBins::blocks : ExpertBins::capacity;
    config.block_rows = 3;
    config.capacity_factor = round % 2 == 0 ? 0.3 : 0;
    auto const plans = plan_megablocks_group(config, support::routings_of(input, experts, top_k),
                                             support::placement_of(input, experts), 0);
    oracle::DispatchOracle const truth(input);
    std::vector<Ints> kept(plans.size(), Ints(plans.front().rows_per_slot.size(), 0));
    for (std::size_t rank = 0; rank < plans.size(); ++rank) {
      auto const& blocks = plans[rank].tokens_per_local_expert;
      bool const limited = config.bins == ExpertBins::capacity && !blocks.empty();
      auto const lists = oracle::megablocks_lists(input, truth, static_cast<int>(rank),
                                                  limited ? static_cast<int>(blocks.front()) : -1);
      std::vector<RowTag> tags;
      std::size_t held = 0;
      for (std::size_t local = 0; local < lists.bins.size(); ++local) {
        held += lists.bins[local].size();
        for (auto const& row : lists.bins[local]) {
          tags.push_back({RankId{row.source}, row.token});
          if (rank < static_cast<std::size_t>(input.ep))  // one shard of every block
            ++kept[static_cast<std::size_t>(row.source)][static_cast<std::size_t>(row.slot)];
        }
        auto const left = blocks[local] - static_cast<std::int64_t>(lists.bins[local].size());
        for (std::int64_t i = 0; i < left; ++i, ++empty) tags.push_back({});
      }
      dropped += held < lists.sorted.size() ? 1 : 0;
      CHECK(expected_row_tags(plans, plans[rank].rank) == tags);
    }
    for (std::size_t rank = 0; rank < plans.size(); ++rank) CHECK(rows_in_bins(plans, plans[rank].rank) == kept[rank]);
  }
  CHECK(empty > 100);
  CHECK(dropped > 10);
}
