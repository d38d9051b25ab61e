// SPDX-License-Identifier: Apache-2.0
// Plans against the list-moving oracle (oracle/dispatch_oracle.hpp): rows in order after every stage, all counts, and
// the group's conservation laws.
//
// Grid first: EP 1-4 x TP 1-3 x L 1-3 x T {0, 1, 5, ragged} x K {1, 2} on contiguous experts; then random placements
// with replicas, empty slots, uneven and empty ranks, dropped choices and duplicates, in both row orders.
#include "oracle/dispatch_oracle.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <vector>

#include "support/dispatch_cases.hpp"
#include "switchyard/io/dispatch_plan_json.hpp"

using namespace switchyard;

namespace {

std::size_t at(std::int64_t value) {
  return static_cast<std::size_t>(value);
}

/// Rows by their chunks, as the plan says, in the order the experts see them.
std::vector<oracle::Row> sorted_by_plan(DispatchPlan const& plan, std::vector<oracle::Row> const& rows) {
  auto const* sort = plan.find<ChunkSort>();
  if (sort == nullptr) return rows;
  std::vector<std::vector<oracle::Row>> chunks;
  std::size_t next = 0;
  for (auto const size : sort->sizes) {
    chunks.emplace_back(rows.begin() + static_cast<std::ptrdiff_t>(next),
                        rows.begin() + static_cast<std::ptrdiff_t>(next + at(size)));
    next += at(size);
  }
  std::vector<oracle::Row> result;
  for (auto const chunk : sort->order)
    result.insert(result.end(), chunks.at(at(chunk)).begin(), chunks.at(at(chunk)).end());
  return result;
}

template <typename Predicate>
std::int64_t count(std::vector<oracle::Row> const& rows, Predicate const& predicate) {
  return std::count_if(rows.begin(), rows.end(), predicate);
}

void check_gather(DispatchPlan const& plan, oracle::RankLists const& lists) {
  auto const& gather = *plan.find<RowGather>();
  REQUIRE(gather.token_of_row.size() == lists.sent.size());
  std::vector<std::vector<std::int64_t>> rows_of_token(at(plan.num_tokens));
  std::vector<std::int64_t> by_slot(at(plan.setup.num_slots), 0);
  for (std::size_t row = 0; row < lists.sent.size(); ++row) {
    CHECK(gather.token_of_row[row] == lists.sent[row].token);
    CHECK(gather.slot_of_row[row] == lists.sent[row].k);
    ++by_slot.at(at(lists.sent[row].slot));
  }
  CHECK(plan.rows_per_slot == by_slot);
  for (std::int64_t token = 0; token < plan.num_tokens; ++token) {  // the combine adds k ascending
    int last_k = -1;
    for (auto i = gather.row_begin.at(at(token)); i < gather.row_begin.at(at(token) + 1); ++i) {
      auto const& row = lists.sent.at(at(gather.rows_of_token.at(at(i))));
      CHECK(row.token == token);
      CHECK(row.k > last_k);
      last_k = row.k;
    }
  }
}

void check_counts(DispatchPlan const& plan, oracle::DispatchOracle const& truth) {
  auto const& grid = plan.setup.grid;
  auto const& lists = truth.ranks().at(plan.rank.index());
  int const my_ep = grid.ep_rank_of(plan.rank);
  for (int peer = 0; peer < grid.world(); ++peer) {
    RankId const other{peer};
    if (auto const* exchange = plan.find<RowExchange>()) {
      bool const lane = grid.same_lane(plan.rank, other);
      auto const to_peer =
          count(lists.sent, [&](auto const& row) { return lane && truth.owns(grid.ep_rank_of(other), row.slot); });
      auto const from_peer = count(lists.received, [&](auto const& row) { return row.source == peer; });
      CHECK(exchange->send_rows.at(other.index()) == to_peer);
      CHECK(exchange->receive_rows.at(other.index()) == from_peer);
    }
    if (auto const* gather = plan.find<GroupGather>()) {
      bool const group = grid.same_experts(plan.rank, other);
      CHECK(gather->receive_rows.at(other.index()) ==
            (group ? static_cast<std::int64_t>(truth.ranks().at(other.index()).received.size()) : 0));
      CHECK(gather->own_rows == static_cast<std::int64_t>(lists.received.size()));
    }
  }
  CHECK(plan.first_slot == truth.first_slot(my_ep));
  REQUIRE(plan.num_local_experts() == truth.slots_of(my_ep));
  for (int local = 0; local < plan.num_local_experts(); ++local)
    CHECK(plan.tokens_per_local_expert.at(at(local)) ==
          count(lists.sorted, [&](auto const& row) { return row.slot == plan.first_slot + local; }));
}

void check_case(oracle::DispatchCase const& input, int num_experts, int top_k) {
  oracle::DispatchOracle const truth(input);
  auto const plans = plan_alltoall_group(support::config_of(input), support::routings_of(input, num_experts, top_k),
                                         support::placement_of(input, num_experts), input.layer);
  auto const violations = validate_group(plans);
  if (!violations.empty()) FAIL_CHECK(violations.front().text);
  for (auto const& plan : plans) {
    auto const& lists = truth.ranks().at(plan.rank.index());
    CAPTURE(plan.rank.value());
    check_gather(plan, lists);
    check_counts(plan, truth);
    CHECK(sorted_by_plan(plan, lists.gathered) == lists.sorted);
    CHECK(io::dispatch_plan_from_json(io::to_json(plan), "round trip") == plan);
  }
}

std::vector<int> token_counts(int choice, int world) {
  std::vector<int> tokens;
  for (int rank = 0; rank < world; ++rank)
    tokens.push_back(choice == 0 ? 0 : choice == 1 ? 1 : choice == 2 ? 5 : (rank * 3) % 5);
  return tokens;
}

}  // namespace

TEST_CASE("contiguous experts over the whole grid") {
  support::Random random(1);
  int cases = 0;
  for (int ep = 1; ep <= 4; ++ep)
    for (int tp = 1; tp <= 3; ++tp)
      for (int local = 1; local <= 3; ++local)
        for (int tokens = 0; tokens < 4; ++tokens)
          for (int top_k = 1; top_k <= 2; ++top_k)
            for (bool const rank_major : {false, true}) {
              oracle::DispatchCase input{tp, ep, 0, rank_major, support::contiguous_experts(ep, local), {}};
              for (int const count : token_counts(tokens, tp * ep))
                input.routing.push_back(
                    support::random_tokens(random, count, ep * local, std::min(top_k, ep * local), false, false));
              auto const grid = fmt::format("ep {} tp {} local {} tokens {} k {} rank_major {}", ep, tp, local, tokens,
                                            top_k, rank_major);
              CAPTURE(grid);
              check_case(input, ep * local, std::min(top_k, ep * local));
              ++cases;
            }
  CHECK(cases == 576);
}

TEST_CASE("random placements with replicas, empty slots, uneven ranks, drops and duplicates") {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    support::Random random(seed);
    CAPTURE(seed);
    int const ep = 1 + support::draw(random, 4);
    int const tp = 1 + support::draw(random, 3);
    int const num_experts = 1 + support::draw(random, 6);
    int const top_k = 1 + support::draw(random, 3);
    oracle::DispatchCase input{tp,
                               ep,
                               support::draw(random, 3),
                               support::draw(random, 2) == 1,
                               support::random_experts(random, ep, num_experts),
                               {}};
    for (int rank = 0; rank < tp * ep; ++rank)
      input.routing.push_back(support::random_tokens(random, support::draw(random, 7), num_experts, top_k,
                                                     support::draw(random, 2) == 1, support::draw(random, 2) == 1));
    check_case(input, num_experts, top_k);
  }
}
