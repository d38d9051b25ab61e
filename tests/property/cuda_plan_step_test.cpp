// SPDX-License-Identifier: Apache-2.0
// The device planner's steps on the host: the same tiles, warps' parts and choices as its kernels, one after the other,
// against core's plans.
//
// By hand, ids {0, 2 | 2, 3 | -1, 1} of 3 tokens, 4 slots on 2 ranks: by slot the rows are (token, column) (0,0) (2,1)
// (0,1) (1,0) (1,1); by rank tokens 0, 2 | 0, 1, and token 1's second choice makes no row of its own.
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/hd/plan_step.hpp"

namespace {

using namespace switchyard;  // NOLINT: test cases read like the library
using Slots = std::vector<std::int32_t>;

/// One sort over the tables of all sources, tile by tile as the kernels make it. Row order is rank_major.
RowGather sort_in_tiles(hd::PlanKeys const& keys, int buckets, std::vector<Slots> const& tables, std::int32_t columns,
                        hd::PlanTiles const& tiles, int warps, bool counts_carried) {
  struct Row {
    std::int64_t input;
    std::int64_t column;
    std::int64_t listed;
  };
  std::vector<std::vector<Row>> rows(static_cast<std::size_t>(buckets));
  RowGather gather;
  std::int64_t kept = 0;
  std::int64_t carried = 0;
  std::int64_t first_input = 0;
  for (auto const& table : tables) {
    auto const tokens = static_cast<std::int64_t>(table.size()) / columns;
    for (std::int32_t tile = 0; tile < tiles.per_source; ++tile) {
      auto const range = hd::tokens_of_tile(tiles, tile, tokens);
      for (int warp = 0; warp < warps; ++warp) {
        auto const part = hd::part_of(range, warp, warps);
        for (std::int64_t token = part.begin; token < part.end; ++token)
          for (std::int32_t column = 0; column < columns; ++column) {
            auto const choice = hd::plan_choice(keys, table.data() + token * columns, columns, column);
            bool const is_kept = choice.key >= 0;
            bool const leads = is_kept && choice.before == 0;
            if (counts_carried && leads) ++carried;
            if (counts_carried ? leads : column == 0) gather.row_begin.push_back(kept);
            std::int64_t const input = counts_carried ? carried - 1 : first_input + token;
            if (!is_kept) continue;
            rows[static_cast<std::size_t>(choice.key)].push_back({input, column, kept - choice.before + choice.place});
            ++kept;
          }
      }
    }
    first_input += tokens;
  }
  gather.row_begin.push_back(kept);
  gather.rows_of_token.resize(static_cast<std::size_t>(kept), -1);
  for (auto const& bucket : rows)
    for (auto const& row : bucket) {
      gather.rows_of_token[static_cast<std::size_t>(row.listed)] =
          static_cast<std::int64_t>(gather.token_of_row.size());
      gather.token_of_row.push_back(row.input);
      gather.slot_of_row.push_back(row.column);
    }
  return gather;
}

Slots owners_of(SlotLayout const& layout) {
  Slots owners;
  for (std::int32_t rank = 0; rank < layout.num_ranks(); ++rank)
    owners.insert(owners.end(), static_cast<std::size_t>(layout.slots_of(RankId{rank})), rank);
  return owners;
}

Slots draw_slots(std::mt19937_64& random, std::int64_t choices, int slots) {
  Slots table;
  for (std::int64_t i = 0; i < choices; ++i)
    table.push_back(static_cast<std::int32_t>(random() % (static_cast<std::uint64_t>(slots) + 2)) - 1);
  for (auto& slot : table) slot = slot >= slots ? -1 : slot;
  return table;
}

struct Shape {
  int ranks;
  int experts;
  std::int32_t columns;
  std::vector<std::int64_t> tokens;
  std::int32_t tile_tokens;
  int warps;
};

hd::PlanTiles tiles_of(Shape const& shape, std::int32_t sources) {
  std::int64_t most = 1;
  for (auto const tokens : shape.tokens) most = std::max(most, tokens);
  return {sources, static_cast<std::int32_t>((most + shape.tile_tokens - 1) / shape.tile_tokens), shape.tile_tokens};
}

void check_flex(Shape const& shape, std::uint64_t seed) {
  CAPTURE(seed);
  CAPTURE(shape.ranks);
  CAPTURE(shape.tile_tokens);
  std::mt19937_64 random(seed);
  auto const placement = ExpertPlacement::contiguous(1, shape.experts, shape.ranks);
  std::vector<Slots> tables;
  std::vector<RoutingMap> routings;
  for (auto const tokens : shape.tokens) {
    tables.push_back(draw_slots(random, tokens * shape.columns, shape.experts));
    std::vector<float> const weights(tables.back().size(), 1.0F);
    routings.push_back(RoutingMap::from_topk(tokens, shape.experts, shape.columns, tables.back(), weights));
  }
  FlexConfig config;
  config.grid = {1, shape.ranks};
  auto const plans = plan_flex_group(config, routings, placement, 0);
  auto const owners = owners_of(placement.layout());
  for (std::size_t rank = 0; rank < plans.size(); ++rank) {
    auto const& plan = plans[rank];
    std::vector<Slots> const own{tables[rank]};
    auto const one = tiles_of(shape, 1);
    CHECK(sort_in_tiles({}, shape.experts, own, shape.columns, one, shape.warps, false) ==
          std::get<RowGather>(plan.row_return.front()));
    auto unique = sort_in_tiles({hd::PlanKey::ep_rank, owners.data(), shape.ranks, 0, 0}, shape.ranks, own,
                                shape.columns, one, shape.warps, false);
    unique.slot_of_row.clear();
    CHECK(unique == std::get<RowGather>(plan.stages.front()));
    hd::PlanKeys const local{hd::PlanKey::local_id, owners.data(), shape.ranks, plan.first_slot,
                             plan.num_local_experts()};
    CHECK(sort_in_tiles(local, plan.num_local_experts(), tables, shape.columns, tiles_of(shape, shape.ranks),
                        shape.warps, true) == std::get<RowGather>(plan.stages.back()));
  }
}

TEST_CASE("tiles, parts and choices give core's lists") {
  std::uint64_t seed = 1;
  for (std::int32_t const tile : {1, 3, 64})
    for (int const warps : {1, 2, 8}) {
      check_flex({2, 4, 2, {3, 5}, tile, warps}, seed++);
      check_flex({1, 5, 1, {9}, tile, warps}, seed++);
      check_flex({3, 7, 5, {0, 31, 64}, tile, warps}, seed++);
      check_flex({5, 3, 2, {7, 7, 1, 0, 2}, tile, warps}, seed++);
      check_flex({70, 140, 9, std::vector<std::int64_t>(70, 4), tile, warps}, seed++);
    }
}

TEST_CASE("a token's rows by rank and by local expert, by hand") {
  std::int32_t const owners[] = {0, 0, 1, 1};
  std::int32_t const slots[] = {3, -1, 0, 2, 3};
  hd::PlanKeys const by_rank{hd::PlanKey::ep_rank, owners, 2, 0, 0};
  auto const is = [](hd::PlanChoice const& choice, int key, int before, int place) {
    return choice.key == key && choice.before == before && choice.place == place;
  };
  CHECK(is(hd::plan_choice(by_rank, slots, 5, 0), 1, 0, 1));
  CHECK(is(hd::plan_choice(by_rank, slots, 5, 1), -1, 0, 0));
  CHECK(is(hd::plan_choice(by_rank, slots, 5, 2), 0, 1, 0));
  CHECK(is(hd::plan_choice(by_rank, slots, 5, 3), -1, 0, 0));
  hd::PlanKeys const local{hd::PlanKey::local_id, owners, 2, 2, 2};
  CHECK(is(hd::plan_choice(local, slots, 5, 0), 1, 0, 1));
  CHECK(is(hd::plan_choice(local, slots, 5, 2), -1, 0, 0));
  CHECK(is(hd::plan_choice(local, slots, 5, 3), 0, 1, 0));
  CHECK(is(hd::plan_choice(local, slots, 5, 4), 1, 2, 2));
}

TEST_CASE("a criterion's image keeps the order of floats") {
  std::uint32_t const ascending[] = {0xff800000u, 0xbf800000u, 0x80000001u, 0x00000000u, 0x00000001u, 0x3f800000u};
  for (std::size_t i = 0; i + 1 < std::size(ascending); ++i)
    CHECK(hd::order_of_bits(ascending[i]) < hd::order_of_bits(ascending[i + 1]));
  CHECK(hd::order_of_bits(0x80000000u) == hd::order_of_bits(0));
}

}  // namespace
