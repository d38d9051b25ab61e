// SPDX-License-Identifier: Apache-2.0
// Replica rules: the deterministic ones against the oracle, the seeded ones by what they promise, and what each does to
// an expert that sits in a token's first choices.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "oracle/replica_oracle.hpp"
#include "support/error_text.hpp"
#include "support/property.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/placement/replica_routing.hpp"

using switchyard::ErrorCode;
using switchyard::ExpertId;
using switchyard::ExpertPlacement;
using switchyard::RankId;
using switchyard::ReplicaRouter;
using switchyard::ReplicaRouting;
using switchyard::ReplicaRule;
using switchyard::ReplicaTable;
using switchyard::RoutingMap;
using switchyard::SlotId;
using switchyard::SlotLayout;
using switchyard::TokenIndex;

namespace {

/// `layers` equal layers over ranks with equally many slots.
ExpertPlacement placement_of(std::vector<int> const& row, int experts, int ranks, int layers = 1) {
  std::vector<ExpertId> slots;
  for (int layer = 0; layer < layers; ++layer)
    for (int const id : row) slots.emplace_back(id);
  return ExpertPlacement(layers, experts, SlotLayout::uniform(ranks, static_cast<int>(row.size()) / ranks), slots);
}

/// Expert 0 in every slot: one per rank.
ExpertPlacement one_expert(int ranks, int layers = 1) {
  return placement_of(std::vector<int>(static_cast<std::size_t>(ranks), 0), 1, ranks, layers);
}

/// How often each replica index of expert 0 is chosen by tokens [0, tokens) in slot 0 of a top-1 routing.
std::vector<int> uses(ReplicaRouting const& routing, int replicas, RankId rank, int layer, int tokens) {
  auto const placement = one_expert(replicas, layer + 1);
  ReplicaRouter router(routing, placement, layer, {rank, RankId(0), 1});
  std::vector<int> counts(static_cast<std::size_t>(replicas), 0);
  for (TokenIndex token(0); token.value() < tokens; ++token) ++counts[router.route(token, 0, ExpertId(0)).index()];
  return counts;
}

double largest_share(std::vector<int> const& counts) {
  double const total = std::accumulate(counts.begin(), counts.end(), 0.0);
  return *std::max_element(counts.begin(), counts.end()) * static_cast<double>(counts.size()) / total;
}

RoutingMap routing_of(std::vector<int> const& ids, int experts, int top_k) {
  std::vector<std::int32_t> const narrow(ids.begin(), ids.end());
  auto const tokens = static_cast<std::int64_t>(ids.size()) / top_k;
  return RoutingMap::from_topk(tokens, experts, top_k, narrow, std::vector<float>(ids.size(), 1.0F));
}

}  // namespace

TEST_CASE("names go both ways, and an unknown one lists the known") {
  for (auto const& name : switchyard::replica_rule_names())
    CHECK(to_string(switchyard::parse_replica_rule(name)) == name);
  auto const text = support::error_text(ErrorCode::invalid_argument,
                                        [] { return static_cast<int>(switchyard::parse_replica_rule("random")); });
  CHECK(support::contains(text, "use one of token_rank_layer, first, counter_based, vllm_flat"));
}

TEST_CASE("deterministic rules equal the oracle, TensorRT-LLM's across blocks") {
  CHECK(support::holds("rules", 400, [] {
    int const experts = support::draw(1, 5);
    int const ranks = support::draw(1, 5);
    int const per_rank = (experts + ranks - 1) / ranks + support::draw(0, 3);
    std::vector<int> row;
    for (int slot = 0; slot < ranks * per_rank; ++slot)
      row.push_back(slot < experts ? slot : support::draw(0, experts));
    std::vector<int> copies(static_cast<std::size_t>(experts), 0);
    for (int const id : row) ++copies[static_cast<std::size_t>(id)];
    int const layer = support::draw(0, 4);
    int const rank = support::draw(0, ranks);
    int const top_k = support::draw(1, 4);
    auto const ids =
        support::draw_list(static_cast<std::size_t>(top_k) * support::draw<std::size_t>(0, 900), -1, experts);
    auto const placement = placement_of(row, experts, ranks, layer + 1);
    ReplicaTable const table(placement, layer);
    for (auto const* name :
         {"token_rank_layer", "first", "vllm_flat", "vllm_token_hash", "tensorrt_llm", "ascend_rank"}) {
      ReplicaRouter router({switchyard::parse_replica_rule(name)}, placement, layer,
                           {RankId(rank), RankId(rank), top_k});
      auto const expected = oracle::replica_indices(name, ids, top_k, copies, rank, layer);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] < 0) continue;
        auto const token = static_cast<std::int64_t>(i) / top_k;
        auto const slot = router.route(TokenIndex(token), static_cast<int>(i) % top_k, ExpertId(ids[i]));
        RC_ASSERT(slot == table.replicas(ExpertId(ids[i]))[static_cast<std::size_t>(expected[i])]);
      }
    }
  }));
}

TEST_CASE("the counter-based rule is even, and differs by rank, layer, token, k and seed") {
  ReplicaRouting const ours{ReplicaRule::counter_based, 7, 1};
  for (int const replicas : {2, 3, 4, 8}) {
    // 4,000 draws: the standard deviation of a share is below sqrt(8 / 4000) = 0.045; five of them.
    CHECK(largest_share(uses(ours, replicas, RankId(0), 0, 4000)) < 1.23);
  }
  auto const base = uses(ours, 8, RankId(0), 0, 40);
  CHECK(base == uses(ours, 8, RankId(0), 0, 40));
  CHECK(base != uses(ours, 8, RankId(1), 0, 40));
  CHECK(base != uses(ours, 8, RankId(0), 1, 40));
  CHECK(base != uses({ReplicaRule::counter_based, 8, 1}, 8, RankId(0), 0, 40));
  auto const placement = one_expert(64);
  ReplicaRouter router(ours, placement, 0, {RankId(0), RankId(0), 8});
  std::map<int, int> slots;
  for (int k = 0; k < 8; ++k) ++slots[router.route(TokenIndex(3), k, ExpertId(0)).value()];
  CHECK(slots.size() > 4);
}

TEST_CASE("each rule's weakness shows, and the counter-based rule has none of them") {
  // vLLM's third rule ignores the rank: the first token of every rank goes to replica 0.
  std::map<int, int> hashed;
  std::map<int, int> counted;
  auto const placement = one_expert(8);
  for (RankId rank(0); rank.value() < 8; ++rank) {
    ReplicaRouter hash({ReplicaRule::vllm_token_hash}, placement, 0, {rank, rank, 1});
    ReplicaRouter ours({ReplicaRule::counter_based}, placement, 0, {rank, rank, 1});
    ++hashed[hash.route(TokenIndex(0), 0, ExpertId(0)).value()];
    ++counted[ours.route(TokenIndex(0), 0, ExpertId(0)).value()];
  }
  CHECK(hashed == std::map<int, int>{{0, 8}});
  CHECK(counted.size() > 3);
  // Its second rule looks at k alone when the replicas divide top-k: an expert that is everyone's first choice.
  ReplicaRouter flat({ReplicaRule::vllm_flat}, placement, 0, {RankId(0), RankId(0), 8});
  for (TokenIndex token(0); token.value() < 100; ++token) CHECK(flat.route(token, 0, ExpertId(0)) == SlotId(0));
  // Ascend's choice does not depend on the token.
  CHECK(uses({ReplicaRule::ascend_rank}, 4, RankId(6), 0, 50) == std::vector<int>{0, 0, 50, 0});
}

TEST_CASE("SGLang's static rule: own rank, own node, else a fair draw") {
  // Four nodes of two ranks, one slot each: expert 0 on ranks 0 and 3, expert 1 on the others.
  auto const placement = placement_of({0, 1, 1, 0, 1, 1, 1, 1}, 2, 8);
  ReplicaRouting const routing{ReplicaRule::sglang_static, 3, 4};
  std::map<int, int> remote;
  for (RankId rank(0); rank.value() < 8; ++rank) {
    ReplicaRouter router(routing, placement, 0, {rank, rank, 1});
    int const slot = router.route(TokenIndex(5), 0, ExpertId(0)).value();
    if (rank.value() < 2) CHECK(slot == 0);
    if (rank.value() == 2 || rank.value() == 3) CHECK(slot == 3);
    if (rank.value() >= 4) ++remote[slot];
    CHECK(router.route(TokenIndex(99), 0, ExpertId(0)).value() == slot);
  }
  CHECK(remote == std::map<int, int>{{0, 2}, {3, 2}});  // two remote ranks each, whatever the seed
}

TEST_CASE("ranks without a near replica share the replicas fairly for every seed") {
  CHECK(support::holds("fair", 300, [] {
    int const ranks = support::draw(1, 9);
    int const experts = support::draw(1, ranks + 1);
    std::vector<int> row;
    for (int slot = 0; slot < ranks; ++slot) row.push_back(slot < experts ? slot : support::draw(0, experts));
    auto const placement = placement_of(row, experts, ranks);
    // Every rank a node of its own: only an own replica is near, the others are shared fairly.
    ReplicaRouting const routing{ReplicaRule::sglang_static, support::draw<std::uint64_t>(0, 1000), ranks};
    for (ExpertId expert(0); expert.value() < experts; ++expert) {
      std::map<int, int> shares;
      for (RankId rank(0); rank.value() < ranks; ++rank) {
        ReplicaRouter router(routing, placement, 0, {rank, rank, 1});
        int const slot = router.route(TokenIndex(0), 0, expert).value();
        RC_ASSERT(row[static_cast<std::size_t>(slot)] == expert.value());
        bool const has_own = row[rank.index()] == expert.value();
        if (has_own) RC_ASSERT(slot == rank.value());
        if (!has_own) ++shares[slot];
      }
      auto const copies = static_cast<int>(std::count(row.begin(), row.end(), expert.value()));
      for (auto const& [slot, ranks_of_it] : shares) {
        RC_ASSERT(ranks_of_it <= (ranks - copies + copies - 1) / copies);
      }
    }
  }));
}

TEST_CASE("counts and figures of a routing over all ranks") {
  // Two ranks, slots 0 1 | 0 2, every token of both ranks chooses expert 0 (and one of the others).
  auto const placement = placement_of({0, 1, 0, 2}, 3, 2);
  std::vector<RoutingMap> const routings = {routing_of({0, 1, 0, 1}, 3, 2), routing_of({0, 2, 0, -1}, 3, 2)};
  auto const first = count_slot_choices({ReplicaRule::first}, placement, 0, routings);
  CHECK(first == std::vector<std::int64_t>{4, 2, 0, 1});
  auto const bias = measure_replica_bias(first, placement, 0);
  CHECK(bias.worst_share == 2);  // all four of expert 0's on one of two replicas
  CHECK(bias.mean_share == 2);
  CHECK(bias.par == doctest::Approx(6 / 3.5));
  CHECK(bias.even_par == doctest::Approx(4 / 3.5));
  CHECK(bias.best_par == doctest::Approx(1.0));  // 1.5 of expert 0 to rank 0, 2.5 to rank 1
  auto const even = count_slot_choices({ReplicaRule::token_rank_layer}, placement, 0, routings);
  CHECK(even == std::vector<std::int64_t>{2, 2, 2, 1});
  CHECK(measure_replica_bias(even, placement, 0).worst_share == 1);
}

TEST_CASE("what cannot be routed is refused by name") {
  auto const placement = placement_of({0, 0}, 2, 2);
  ReplicaRouter router({ReplicaRule::counter_based}, placement, 0, {RankId(1), RankId(1), 2});
  CHECK(support::contains(support::error_text(ErrorCode::invalid_placement,
                                              [&] { return router.route(TokenIndex(4), 0, ExpertId(1)).value(); }),
                          "expert 1 of layer 0 has no slot, but token 4 of rank 1 chose it"));
  CHECK(support::contains(support::error_text(ErrorCode::invalid_argument,
                                              [&] { return router.route(TokenIndex(4), 2, ExpertId(0)).value(); }),
                          "choice 2 of token 4 of rank 1"));
  CHECK(support::contains(
      support::error_text(ErrorCode::invalid_argument,
                          [] { return choose_replica(ReplicaRule::vllm_flat, TokenIndex(0), RankId(0), 0, 2); }),
      "route through a ReplicaRouter"));
  CHECK(support::contains(
      support::error_text(
          ErrorCode::invalid_argument,
          [&] {
            ReplicaRouter bad({ReplicaRule::sglang_static, 0, 3}, placement, 0, {RankId(0), RankId(0), 1});
            return 0;
          }),
      "2 ranks are not divisible by 3 nodes"));
}

TEST_CASE("the AlltoAll planner sends every choice where the router says, under every rule") {
  CHECK(support::holds("planner", 200, [] {
    switchyard::AllToAllConfig config;
    config.grid = {support::draw(1, 3), support::draw(1, 4)};
    int const experts = support::draw(1, 5);
    int const per_rank = (experts + config.grid.ep - 1) / config.grid.ep + support::draw(0, 3);
    std::vector<int> row;
    for (int slot = 0; slot < config.grid.ep * per_rank; ++slot)
      row.push_back(slot < experts ? slot : support::draw(0, experts));
    auto const placement = placement_of(row, experts, config.grid.ep, 2);
    RankId const rank(support::draw(0, config.grid.world()));
    int const top_k = support::draw(1, 3);
    auto const ids =
        support::draw_list(static_cast<std::size_t>(top_k) * support::draw<std::size_t>(0, 30), -1, experts);
    auto const routing = routing_of(ids, experts, top_k);
    for (auto const& name : switchyard::replica_rule_names()) {
      config.replica_rule = switchyard::parse_replica_rule(name);
      ReplicaRouter router({config.replica_rule}, placement, 1, {rank, RankId(config.grid.ep_rank_of(rank)), top_k});
      std::vector<std::int64_t> expected(row.size(), 0);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        auto const token = static_cast<std::int64_t>(i) / top_k;
        if (ids[i] < 0) continue;
        ++expected[router.route(TokenIndex(token), static_cast<int>(i) % top_k, ExpertId(ids[i])).index()];
      }
      RC_ASSERT(assign_rows(config, rank, routing, placement, 1).rows_per_slot == expected);
    }
  }));
}
