// SPDX-License-Identifier: Apache-2.0
// Every dispatch family on the same random cases (replicas, empty slots, uneven and empty ranks, drops, duplicates,
// ranks without tokens): the integers and rows of the list-moving oracles, and combined bits that depend neither on
// the family nor on the placement.
//
// By hand: tp 2, ep 1, one token, one expert. AlltoAll gathers its row on both TP ranks, Flex sends one copy to each,
// AllGather gathers all tokens, MegaBlocks repeats the row for two hidden shards: both ranks hold the same row, and the
// two partial results are added once, whatever the way.
#include <doctest/doctest.h>

#include <cstring>
#include <utility>
#include <vector>

#include "oracle/dispatch_families_oracle.hpp"
#include "support/dispatch_family_run.hpp"
#include "switchyard/dispatch/capacity_rule.hpp"
#include "switchyard/dispatch/row_order.hpp"

using namespace switchyard;
using support::Family;
using support::RunCase;

namespace {

RunCase random_run(std::uint64_t seed) {
  support::Random random(seed);
  RunCase run;
  run.seed = seed;
  run.num_experts = 1 + support::draw(random, 6);
  run.top_k = 1 + support::draw(random, 4);
  run.hidden = seed % 3 == 0 ? 33 : 1 + static_cast<std::int64_t>(seed % 4);
  support::draw_input(random, run, 3, 6);
  return run;
}

/// The oracle's rows of every local expert of `rank`, in the order of the plan.
std::vector<std::vector<oracle::Row>> expected_blocks(Family const& family, RunCase const& run,
                                                      oracle::DispatchOracle const& truth, int rank, int places) {
  if (family.family == DispatchFamily::megablocks) return oracle::megablocks_lists(run.input, truth, rank, places).bins;
  int const ep = rank / run.input.tp;
  std::vector<std::vector<oracle::Row>> blocks(static_cast<std::size_t>(truth.slots_of(ep)));
  for (auto const& row : truth.ranks()[static_cast<std::size_t>(rank)].sorted)
    blocks[static_cast<std::size_t>(row.slot - truth.first_slot(ep))].push_back(row);
  return blocks;
}

template <typename T>
std::vector<T> expected_rows(RunCase const& run, DispatchPlan const& plan,
                             std::vector<std::vector<oracle::Row>> const& blocks) {
  std::vector<T> rows;
  for (std::size_t local = 0; local < blocks.size(); ++local) {
    for (auto const& row : blocks[local])
      for (std::int64_t column = 0; column < run.hidden; ++column)
        rows.push_back(run.element<T>(row.source, row.token, column));
    auto const empty = plan.tokens_per_local_expert[local] - static_cast<std::int64_t>(blocks[local].size());
    rows.insert(rows.end(), static_cast<std::size_t>(empty * run.hidden), T{});
  }
  return rows;
}

template <typename T>
bool same_bits(std::vector<T> const& a, std::vector<T> const& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <typename T>
void check_family(Family const& family, RunCase const& run) {
  CAPTURE(family.name);
  auto const scheduler = cpu::make_cooperative_scheduler(run.seed);
  auto const outputs = support::run_family<T>(family, run, *scheduler);
  auto const combined = support::expected_combined<T>(run);
  oracle::DispatchOracle const truth(run.input);
  std::vector<DispatchPlan> plans;
  for (std::size_t rank = 0; rank < outputs.size(); ++rank) {
    CAPTURE(rank);
    auto const blocks = expected_blocks(family, run, truth, static_cast<int>(rank), -1);
    CHECK(outputs[rank].plan.num_local_experts() == static_cast<int>(blocks.size()));
    auto const filled = filled_rows(outputs[rank].plan);
    for (std::size_t local = 0; local < blocks.size(); ++local)
      CHECK(filled.at(local) == static_cast<std::int64_t>(blocks[local].size()));
    CHECK(same_bits(outputs[rank].rows, expected_rows<T>(run, outputs[rank].plan, blocks)));
    CHECK(same_bits(outputs[rank].combined, combined[rank]));
    plans.push_back(outputs[rank].plan);
  }
  auto const violations = validate_group(plans);
  if (!violations.empty()) FAIL_CHECK(violations.front().text);
  CHECK(plans == support::plan_group(family, run));
}

/// What the sources keep when every bin has `places` rows: rows that no bin holds are taken out of the routing.
RunCase without_dropped(RunCase run, std::vector<std::int64_t> const& places) {
  oracle::DispatchOracle const truth(run.input);
  auto kept = run.input.routing;
  for (auto& tokens : kept)
    for (auto& choices : tokens) choices.clear();
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(run.input.ep); ++rank) {  // one rank of every block
    auto const lists =
        oracle::megablocks_lists(run.input, truth, static_cast<int>(rank), static_cast<int>(places[rank]));
    for (auto const& bin : lists.bins)
      for (auto const& row : bin) {
        auto const source = static_cast<std::size_t>(row.source);
        auto const token = static_cast<std::size_t>(row.token);
        for (auto const& choice : run.input.routing[source][token])
          if (choice.k == row.k) kept[source][token].push_back(choice);
      }
  }
  for (auto& tokens : kept)
    for (auto& choices : tokens)
      std::sort(choices.begin(), choices.end(), [](auto const& a, auto const& b) { return a.k < b.k; });
  run.input.routing = std::move(kept);
  return run;
}

}  // namespace

TEST_CASE_TEMPLATE("every family: rows of the oracle, one combine for all", T, float, bf16_t) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    auto const run = random_run(seed);
    for (auto const& family : support::all_families()) check_family<T>(family, run);
  }
}

TEST_CASE("contiguous experts over the whole grid, in both row orders") {
  support::Random random(3);
  for (int ep = 1; ep <= 3; ++ep)
    for (int tp = 1; tp <= 2; ++tp)
      for (int local = 1; local <= 2; ++local)
        for (int const tokens : {0, 1, 4})
          for (int top_k = 1; top_k <= 2; ++top_k)
            for (bool const rank_major : {false, true}) {
              RunCase run;
              run.num_experts = ep * local;
              run.top_k = std::min(top_k, run.num_experts);
              run.input = {tp, ep, 0, rank_major, support::contiguous_experts(ep, local), {}};
              for (int rank = 0; rank < tp * ep; ++rank)
                run.input.routing.push_back(
                    support::random_tokens(random, rank == 1 ? 0 : tokens, run.num_experts, run.top_k, false, false));
              CAPTURE(ep);
              CAPTURE(tp);
              CAPTURE(local);
              for (auto const& family : support::all_families()) check_family<float>(family, run);
            }
}

TEST_CASE("every routing of one token on each of two ranks, two experts, two slots: every family and grid") {
  int cases = 0;
  for (auto const& [tp, ep] : {std::pair{2, 1}, std::pair{1, 2}})
    for (int code = 0; code < 81; ++code) {
      RunCase run;
      run.num_experts = 2;
      run.top_k = 2;
      run.input = {tp, ep, 0, true, support::contiguous_experts(ep, 2 / ep), {}};
      int left = code;
      for (int rank = 0; rank < 2; ++rank) {
        std::vector<oracle::Choice> choices;
        for (int k = 0; k < 2; ++k, left /= 3)
          if (left % 3 > 0) choices.push_back({left % 3 - 1, k});
        run.input.routing.push_back({choices});
      }
      CAPTURE(code);
      for (auto const& family : support::all_families()) check_family<float>(family, run);
      ++cases;
    }
  CHECK(cases == 162);
}

TEST_CASE("all tokens to one expert: every family") {
  RunCase run;
  run.num_experts = 4;
  run.top_k = 2;
  run.input = {2, 2, 0, true, support::contiguous_experts(2, 2), {}};
  for (int rank = 0; rank < 4; ++rank) run.input.routing.push_back({{{3, 0}, {3, 1}}, {{3, 1}}, {}});
  for (auto const& family : support::all_families()) check_family<float>(family, run);
}

TEST_CASE("a placement never changes combined bits of any family") {
  for (auto const& family : support::all_families()) {
    auto run = random_run(12);
    run.num_experts = 6;
    run.top_k = 4;
    run.input.ep = 2;
    run.input.tp = 2;
    support::Random tokens(5);
    run.input.routing.clear();
    for (int rank = 0; rank < 4; ++rank)
      run.input.routing.push_back(support::random_tokens(tokens, 6, 6, 4, false, false));
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      support::Random random(seed);
      run.input.experts_of_ep = support::random_experts(random, 2, 6);
      CAPTURE(seed);
      check_family<float>(family, run);  // the expectation does not know the placement
    }
  }
}

TEST_CASE("Flex sends one row per (destination rank, token), destinations ascending") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    auto const run = random_run(seed);
    oracle::DispatchOracle const truth(run.input);
    auto const plans = support::plan_group({DispatchFamily::megatron_flex, {}, "flex"}, run);
    for (std::size_t rank = 0; rank < plans.size(); ++rank) {
      auto const expected = oracle::unique_rows(run.input, truth, static_cast<int>(rank));
      std::vector<std::int64_t> tokens;
      std::vector<std::int64_t> rows_to(plans.size(), 0);
      for (auto const& [destination, token] : expected) {
        tokens.push_back(token);
        ++rows_to[static_cast<std::size_t>(destination)];
      }
      CHECK(std::get<RowGather>(plans[rank].stages.front()).token_of_row == tokens);
      if (auto const* exchange = plans[rank].find<RowExchange>()) CHECK(exchange->send_rows == rows_to);
    }
  }
}

TEST_CASE("MegaBlocks with a capacity drops what the oracle drops, on every rank count") {
  int dropped = 0;
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    CAPTURE(seed);
    auto run = random_run(seed);
    auto const family = support::megablocks(ExpertBins::capacity, seed % 2 == 0 ? 0.15 : 0.4, 128, "capacity");
    auto const scheduler = cpu::make_cooperative_scheduler(seed);
    // All ranks of a block must have one capacity, or hidden shards would drop different rows: equal token counts.
    std::size_t const tokens = run.input.routing.front().size();
    for (auto& routing : run.input.routing) routing.resize(tokens);
    auto const outputs = support::run_family<float>(family, run, *scheduler);
    oracle::DispatchOracle const truth(run.input);
    std::vector<std::int64_t> places;
    std::vector<DispatchPlan> plans;
    for (std::size_t rank = 0; rank < outputs.size(); ++rank) {
      auto const& blocks = outputs[rank].plan.tokens_per_local_expert;
      places.push_back(blocks.empty() ? 0 : blocks.front());
      auto const world = static_cast<int>(outputs.size());
      auto const capacity = megablocks_capacity(
          megablocks_capacity_tokens(world, run.input.tp, static_cast<std::int64_t>(tokens), run.top_k), run.top_k,
          run.num_experts, world, family.megablocks.capacity_factor);
      if (capacity > 0 && !blocks.empty()) CHECK(places.back() == capacity);
      auto const lists = expected_blocks(family, run, truth, static_cast<int>(rank), static_cast<int>(places.back()));
      CHECK(same_bits(outputs[rank].rows, expected_rows<float>(run, outputs[rank].plan, lists)));
      plans.push_back(outputs[rank].plan);
    }
    auto const violations = validate_group(plans);
    if (!violations.empty()) FAIL_CHECK(violations.front().text);
    auto const kept = without_dropped(run, places);
    auto const combined = support::expected_combined<float>(kept);
    for (std::size_t rank = 0; rank < outputs.size(); ++rank) CHECK(same_bits(outputs[rank].combined, combined[rank]));
    if (!(kept.input.routing.size() == run.input.routing.size())) FAIL("routing lost");
    for (std::size_t rank = 0; rank < outputs.size(); ++rank)
      for (std::size_t token = 0; token < tokens; ++token)
        if (kept.input.routing[rank][token].size() != run.input.routing[rank][token].size()) ++dropped;
  }
  MESSAGE("tokens that lost a row: " << dropped);
  CHECK(dropped > 0);
}

TEST_CASE("the map between row orders turns one layout into the other") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    auto run = random_run(seed);
    auto const layout = [&](bool rank_major, std::size_t rank) {
      run.input.rank_major = rank_major;
      return oracle::DispatchOracle(run.input).ranks()[rank].sorted;
    };
    auto const plans = support::plan_group({DispatchFamily::megatron_allgather, {}, "allgather"}, run);
    ExpertParallelGrid const grid{run.input.tp, run.input.ep};
    for (std::size_t rank = 0; rank < plans.size(); ++rank) {
      auto const arrivals = arrivals_at(plans, plans[rank].rank);
      auto const map = row_order_map(grid, arrivals, RowOrder::tp_major, RowOrder::rank_major);
      auto const from = layout(false, rank);
      std::vector<oracle::Row> mapped;
      for (auto const row : map) mapped.push_back(from.at(static_cast<std::size_t>(row)));
      CHECK(mapped == layout(true, rank));
      auto const back = row_order_map(grid, arrivals, RowOrder::rank_major, RowOrder::tp_major);
      for (std::size_t row = 0; row < map.size(); ++row)
        CHECK(back.at(static_cast<std::size_t>(map[row])) == static_cast<std::int64_t>(row));
    }
  }
}
