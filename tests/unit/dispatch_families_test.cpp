// SPDX-License-Identifier: Apache-2.0
// AllGather, Flex and MegaBlocks plans by hand, and what their planners refuse.
//
// The example of reference section 1.6 (T=2, K=2, E=4, EP=2, TP=2): r0: t0{0,2} t1{2,3}; r1: t0{0,3} t1{0,1};
// r2: t0{0,2} t1{0,1}; r3: t0{0,1} t1{0,3}. Rank 0 holds experts 0 and 1. AllGather: of the eight gathered tokens
// (index 2 r + t) expert 0 takes 0 2 3 4 5 6 7 and expert 1 takes 3 5 6. Flex: rank 0 sends t0 to ranks 0 and 1, t0 and
// t1 to ranks 2 and 3: six rows instead of AlltoAll's four, because both TP ranks get their own copies.
#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "support/dispatch_examples.hpp"
#include "support/error_text.hpp"
#include "switchyard/dispatch/capacity.hpp"
#include "switchyard/dispatch/megatron_metadata.hpp"

using namespace switchyard;
using support::allgather_example;
using support::contains;
using support::error_text;
using support::flex_example;
using support::Ints;
using support::megablocks_example;
using support::two_tokens;
using support::worked_placement;
using support::worked_routing;

TEST_CASE("AllGather by hand") {
  auto const plans = allgather_example();
  CHECK(validate_group(plans).empty());
  auto const& plan = plans[0];
  REQUIRE(plan.stages.size() == 2);
  CHECK(std::get<GroupGather>(plan.stages[0]) == GroupGather{2, {2, 2, 2, 2}, GatherGroup::world});
  auto const& rows = std::get<RowGather>(plan.stages[1]);
  CHECK(rows.token_of_row == Ints{0, 2, 3, 4, 5, 6, 7, 3, 5, 6});
  CHECK(rows.slot_of_row == Ints{0, 0, 0, 0, 0, 0, 0, 1, 1, 1});
  CHECK(rows.row_begin == Ints{0, 1, 1, 2, 4, 5, 7, 9, 10});
  CHECK(rows.rows_of_token == Ints{0, 1, 2, 7, 3, 4, 8, 5, 9, 6});
  CHECK(plan.tokens_per_local_expert == Ints{7, 3});
  AllToAllConfig single;
  single.grid = {2, 2};
  single.row_order = RowOrder::rank_major;
  CHECK(plan.row_return == plan_alltoall_group(single, worked_routing(), worked_placement(), 0)[0].stages);
  CHECK(&return_path(plan) == &plan.row_return);
}

TEST_CASE("Flex by hand") {
  auto const plans = flex_example();
  CHECK(validate_group(plans).empty());
  auto const& plan = plans[0];
  REQUIRE(plan.stages.size() == 3);
  CHECK(std::get<RowGather>(plan.stages[0]) == RowGather{{0, 0, 0, 1, 0, 1}, {}, {0, 4, 6}, {0, 1, 2, 4, 3, 5}});
  CHECK(std::get<RowExchange>(plan.stages[1]) == RowExchange{{1, 1, 2, 2}, {1, 2, 2, 2}});
  auto const& rows = std::get<RowGather>(plan.stages[2]);
  CHECK(rows.token_of_row == Ints{0, 1, 2, 3, 4, 5, 6, 2, 4, 5});
  CHECK(rows.slot_of_row == Ints{0, 0, 0, 0, 0, 0, 0, 1, 1, 1});
  CHECK(rows.rows_of_token == Ints{0, 1, 2, 7, 3, 4, 8, 5, 9, 6});
}

TEST_CASE("Flex drops choices of weight 0 only when asked to") {
  auto const routing = RoutingMap::from_topk(1, 2, 2, {0, 1}, {0.0F, 1.0F});
  FlexConfig config;
  auto const rows = [&](FlexSelection selection, RoutingMap const& map) {
    config.selection = selection;
    return plan_flex_group(config, {&map, 1}, ExpertPlacement::contiguous(1, 2, 1), 0)[0].tokens_per_local_expert;
  };
  CHECK(rows(FlexSelection::routing_map, routing) == Ints{1, 1});
  CHECK(rows(FlexSelection::nonzero_weights, routing) == Ints{0, 1});
  CHECK(rows(FlexSelection::nonzero_weights, routing.to_dense()) == Ints{0, 1});
}

TEST_CASE("MegaBlocks by hand: two blocks of experts, two hidden shards") {
  auto const exact = megablocks_example(ExpertBins::exact);
  CHECK(validate_group(exact).empty());
  auto const& plan = exact[0];
  REQUIRE(plan.stages.size() == 4);
  CHECK(std::get<RowGather>(plan.stages[0]).token_of_row == Ints{0, 0, 1, 1});
  CHECK(std::get<ShardRepeat>(plan.stages[1]) == ShardRepeat{4, 2});
  CHECK(std::get<RowExchange>(plan.stages[2]) == RowExchange{{1, 3, 1, 3}, {1, 3, 3, 3}});
  // r0: e0 | r1: e0 e0 e1 | r2: e0 e0 e1 | r3: e0 e0 e1
  CHECK(std::get<RowGather>(plan.stages[3]).token_of_row == Ints{0, 1, 2, 4, 5, 7, 8, 3, 6, 9});
  CHECK(plan.tokens_per_local_expert == Ints{7, 3});
  CHECK(exact[3].first_slot == 2);  // rank 3 is shard 1 of block 1
  auto const blocks = megablocks_example(ExpertBins::blocks);
  CHECK(blocks[0].tokens_per_local_expert == Ints{8, 4});
  CHECK(filled_rows(blocks[0]) == Ints{7, 3});
  CHECK(std::get<RowGather>(blocks[0].stages.back()).token_of_row == Ints{0, 1, 2, 3, 4, 5, 6, -1, 7, 8, 9, -1});
  CHECK(megablocks_example(ExpertBins::capacity)[0].tokens_per_local_expert == Ints{7, 7});
}

TEST_CASE("MegaBlocks integers") {
  MegaBlocksConfig config;
  auto const one_rank = ExpertPlacement::contiguous(1, 4, 1);
  auto const indices = megablocks_indices(assign_megablocks_rows(config, RankId{0}, worked_routing()[0], one_rank, 0));
  CHECK(indices.indices == Ints{0, 1, 2, 3});
  CHECK(indices.bin_ids == Ints{0, 2, 2, 3});
  CHECK(indices.tokens_per_expert == Ints{1, 0, 2, 1});
  CHECK(indices.bins == Ints{1, 1, 3, 4});
  CHECK(padded_bins(indices.tokens_per_expert, 128) == Ints{128, 128, 256, 384});
  CHECK(padded_bins(Ints{3'000'000'000, 1}, 128) == Ints{3'000'000'000, 3'000'000'128});
  CHECK(megablocks_capacity_tokens(1, 1, 7, 2) == 7);
  CHECK(megablocks_capacity_tokens(8, 2, std::int64_t{1} << 32, 2) == std::int64_t{1} << 34);
  CHECK(megablocks_grid(8, 4).hidden_shards == 2);
  CHECK(megablocks_grid(2, 8).expert_blocks == 2);
  auto const grid = [](int world, int experts) {
    return error_text(ErrorCode::invalid_argument, [&] { return megablocks_grid(world, experts).expert_blocks; });
  };
  CHECK(contains(grid(3, 4), "4 experts on 3 ranks"));
  CHECK(contains(grid(6, 4), "4 experts on 6 ranks"));
}

TEST_CASE("a capacity that truncates to 0: dropless by MegaBlocks' rule, nothing by the other") {
  auto const routing = RoutingMap::from_topk(1, 8, 1, {5}, {1.0F});
  MegaBlocksConfig config;
  config.capacity_factor = 1;
  auto const placement = ExpertPlacement::contiguous(1, 8, 1);
  auto const plan = plan_megablocks_group(config, {&routing, 1}, placement, 0)[0];
  CHECK(plan.tokens_per_local_expert == Ints(8, 1));
  CHECK_FALSE(plan.capacity.has_value());
  CHECK(sync_point(plan, SyncRule::megatron_newest) == SyncPoint::before_permutation_1);
  config.zero_capacity = ZeroCapacity::no_rows;
  auto const empty = plan_megablocks_group(config, {&routing, 1}, placement, 0)[0];
  CHECK(empty.tokens_per_local_expert == Ints(8, 0));
  CHECK(empty.capacity == CapacityLimit{0, false});
  CHECK(sync_point(empty, SyncRule::megatron_newest) == SyncPoint::no_sync);
  CHECK(validate(empty).empty());
}

TEST_CASE("indices beyond 2^31 in counts alone") {
  std::int64_t const many = std::int64_t{1} << 40;
  auto const placement = ExpertPlacement::contiguous(1, 2, 2);
  auto const none = RoutingMap::from_topk(0, 2, 1, {}, {});
  MegaBlocksConfig config;
  config.world = 2;
  config.bins = ExpertBins::exact;
  auto const plan_with = [&](Ints const& counts) {
    return plan_megablocks(config, assign_megablocks_rows(config, RankId{0}, none, placement, 0), placement, 0, counts);
  };
  auto const plan = plan_with({0, 0, many, 5});
  CHECK(plan.find<RowExchange>()->receive_rows == Ints{0, many});
  CHECK(plan.tokens_per_local_expert == Ints{many});
  CHECK(validate(plan).empty());
  AllToAllConfig alltoall;
  alltoall.grid = {2, 1};
  auto const one = ExpertPlacement::contiguous(1, 2, 1);
  auto const wide = [&](Ints const& counts) {
    return plan_alltoall(alltoall, assign_rows(alltoall, RankId{1}, none, one, 0), one, 0, counts);
  };
  CHECK(wide({many, many, 0, 0}).num_expert_rows() == 2 * many);
  CHECK(contains(error_text(ErrorCode::invalid_argument,
                            [&] {
                              return wide({INT64_MAX, INT64_MAX, 0, 0});
                            }),
                 "does not fit 63 bits"));
}

TEST_CASE("dense and padded routings travel through AllGather and Flex") {
  CapacityPolicy policy;
  policy.factor = 1.0;
  policy.pad_to_capacity = true;
  std::vector<RoutingMap> routings;
  std::vector<CapacityLimit> limits;
  for (auto const& routing : worked_routing()) {
    auto limited = apply_capacity(routing, policy, 2);
    limits.push_back({limited.capacity, true});
    routings.push_back(std::move(limited.routing));
  }
  auto const gathered = plan_allgather_group({{2, 2}}, routings, worked_placement(), 0, limits);
  auto const flex = plan_flex_group({{2, 2}}, routings, worked_placement(), 0, limits);
  CHECK(validate_group(gathered).empty());
  CHECK(validate_group(flex).empty());
  CHECK(gathered[0].slot_columns == 4);
  CHECK(gathered[0].tokens_per_local_expert == Ints(2, 4 * limits[0].rows));
  CHECK(flex[0].tokens_per_local_expert == gathered[0].tokens_per_local_expert);
}

TEST_CASE("sync facts of every family") {
  for (auto const rule : {SyncRule::megatron_seed, SyncRule::megatron_newest, SyncRule::mindspeed}) {
    CHECK(sync_facts(allgather_example()[0], rule).point == SyncPoint::before_permutation_1);
    CHECK(sync_facts(flex_example()[0], rule).point == SyncPoint::before_permutation_2);
    CHECK(sync_facts(megablocks_example(ExpertBins::exact)[0], rule).point == SyncPoint::before_ep_alltoall);
    CHECK(sync_facts(flex_example()[0], rule).tokens_per_local_expert_on_host == (rule != SyncRule::mindspeed));
  }
  AllToAllConfig config;
  config.grid = {2, 1};
  std::vector<RoutingMap> const routings(2, RoutingMap::from_topk(0, 1, 1, {}, {}));
  auto const plan = plan_alltoall_group(config, routings, ExpertPlacement::contiguous(1, 1, 1), 0)[0];
  CHECK(sync_facts(plan, SyncRule::mindspeed) == SyncFacts{SyncPoint::before_finish, false});
  CHECK(sync_facts(plan, SyncRule::megatron_newest) == SyncFacts{SyncPoint::before_ep_alltoall, true});
}

TEST_CASE("MindSpeed's tp_extend_ep is an AlltoAll over the extended grid") {
  AllToAllConfig config;
  config.grid = ExpertParallelGrid{2, 2}.extended_over_tp();
  auto const plans = plan_alltoall_group(config, worked_routing(), ExpertPlacement::contiguous(1, 4, 4), 0);
  CHECK(validate_group(plans).empty());
  CHECK(plans[0].find<GroupGather>() == nullptr);
  CHECK(plans[0].tokens_per_local_expert == Ints{7});
}

TEST_CASE("planners refuse what the other ranks cannot have said") {
  AllGatherConfig gather;
  gather.grid = {1, 2};
  auto const routing = two_tokens({0, 2, 2, 3});
  auto const assign = [&] { return assign_rows(return_config(gather), RankId{0}, routing, worked_placement(), 0); };
  auto const own = slot_table(assign());
  CHECK(own.slots == std::vector<std::int32_t>{0, 2, 2, 3});
  auto const allgather = [&](std::vector<SlotTable> const& tables, ErrorCode code) {
    return error_text(code, [&] { return plan_allgather(gather, assign(), worked_placement(), 0, tables); });
  };
  CHECK(contains(allgather({own}, ErrorCode::shape_mismatch), "1 slot tables"));
  CHECK(contains(allgather({own, {1, 1, {0}}}, ErrorCode::shape_mismatch), "1 slot columns"));
  CHECK(contains(allgather({own, {2, 2, {0, 1, 2}}}, ErrorCode::shape_mismatch), "holds 3 numbers"));
  CHECK(contains(allgather({own, {1, 2, {0, 4}}}, ErrorCode::invalid_plan), "slot 4 of 4"));
  CHECK(contains(allgather({{2, 2, {0, 2, 2, 2}}, own}, ErrorCode::invalid_plan), "not that of its assignment"));

  FlexConfig flex;
  flex.grid = {1, 2};
  auto const assigned = assign_flex_rows(flex, RankId{0}, routing, worked_placement(), 0);
  Ints const mine = flex_announcement(assigned);
  CHECK(mine == Ints{2, 1, 0, 2, 1, 1, 2});
  auto const plan = [&](Ints const& other, std::vector<std::int32_t> const& ids, ErrorCode code) {
    Ints both = mine;
    both.insert(both.end(), other.begin(), other.end());
    return error_text(code, [&] { return plan_flex(flex, assigned, worked_placement(), 0, both, ids); });
  };
  CHECK(contains(plan({2}, {}, ErrorCode::shape_mismatch), "announcements hold 8 numbers"));
  CHECK(contains(plan({1, 0, 0, 0, 0, 0, 0}, {0, -1}, ErrorCode::shape_mismatch), "rank 1 routes with 1"));
  CHECK(contains(plan({2, 0, 0, 0, 0, -1, 0}, {0, -1}, ErrorCode::invalid_plan), "announces -1 rows"));
  CHECK(contains(plan({2, 0, 0, 0, 0, 0, 0}, {0}, ErrorCode::shape_mismatch), "received 1 expert ids"));
  CHECK(contains(plan({2, 0, 0, 0, 0, 0, 0}, {0, 2}, ErrorCode::invalid_plan), "sends local expert 2"));
  CHECK(contains(plan({2, 0, 1, 0, 0, 1, 0}, {0, -1, 0, -1}, ErrorCode::invalid_plan), "names local expert 0"));

  MegaBlocksConfig config;
  config.world = 3;
  auto const megablocks = [&](std::vector<RoutingMap> const& routings, ErrorCode code) {
    return error_text(code, [&] { return plan_megablocks_group(config, routings, worked_placement(), 0); });
  };
  CHECK(contains(megablocks({routing, routing, routing}, ErrorCode::invalid_argument), "world of 3 ranks"));
  config.world = 4;
  CHECK(contains(megablocks({routing}, ErrorCode::shape_mismatch), "needs as many routings"));
  config.capacity_factor = 0.5;
  auto const fewer = RoutingMap::from_topk(1, 4, 2, {0, 1}, {1, 1});
  CHECK(contains(megablocks({routing, routing, fewer, routing}, ErrorCode::desync), "rank 2 has 1 tokens"));
  config.bins = ExpertBins::blocks;
  config.block_rows = 0;
  CHECK(contains(megablocks({routing, routing, routing, routing}, ErrorCode::invalid_argument), "blocks of 0 rows"));
}
