// SPDX-License-Identifier: Apache-2.0
// Traffic of routings and plans.
//
// Worked example: 2 nodes of 2 GPUs, 8 experts, 2 per rank. Rank 0's only token chooses experts 2, 3 (rank 1), 4 (rank
// 2) and 6 (rank 3). Without deduplication rank 1 gets two rows and ranks 2 and 3 one each; per rank one row each. Per
// node the token travels once to node 0 (to rank 0 itself, which stands where the source stands) and once to node 1
// (rank 2); rank 0 hands it to rank 1, rank 2 keeps a copy (2 -> 2) and hands one to rank 3.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/sim/network_model.hpp"
#include "switchyard/sim/plan_traffic.hpp"
#include "switchyard/sim/routing_generator.hpp"
#include "switchyard/types/counter_rng.hpp"
#include "switchyard/types/error.hpp"

using namespace switchyard;
using namespace switchyard::sim;

namespace {

constexpr int kRanks = 4;
constexpr int kExperts = 8;

ClusterTopology two_nodes() {
  ClusterSpec spec = cluster_preset("dgx-h100", 2);
  spec.gpus_per_node = 2;
  spec.network.nics_per_node = 2;
  return ClusterTopology(spec);
}

RoutingMap routing(std::int64_t tokens, int top_k, std::vector<std::int32_t> ids) {
  std::vector<float> weights(ids.size(), 1.0F);
  return RoutingMap::from_topk(tokens, kExperts, top_k, std::move(ids), std::move(weights));
}

/// Random routings with repeated experts left out by -1.
std::vector<RoutingMap> random_routings(std::uint64_t seed) {
  std::vector<RoutingMap> routings;
  for (int rank = 0; rank < kRanks; ++rank) {
    CounterRng const rng(seed, static_cast<std::uint64_t>(rank));
    std::int64_t const tokens = static_cast<std::int64_t>(rng.below(1000, 9));
    std::vector<std::int32_t> ids;
    for (std::int64_t token = 0; token < tokens; ++token) {
      auto const a = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(2 * token), kExperts));
      auto const b = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(2 * token + 1), kExperts));
      ids.push_back(a);
      ids.push_back(a == b ? -1 : b);
    }
    routings.push_back(routing(tokens, 2, ids));
  }
  return routings;
}

using Rows = std::map<std::pair<int, int>, std::int64_t>;
Rows rows_of(TrafficPhase const& phase, std::int64_t row_bytes) {
  Rows rows;
  for (Flow const& flow : phase.flows) rows[{flow.from.value(), flow.to.value()}] += flow.bytes / row_bytes;
  return rows;
}

std::int64_t total_bytes(std::vector<TrafficPhase> const& phases) {
  std::int64_t bytes = 0;
  for (auto const& phase : phases)
    for (Flow const& flow : phase.flows) bytes += flow.bytes;
  return bytes;
}

}  // namespace

TEST_CASE("deduplication: worked example") {
  auto const topology = two_nodes();
  auto const placement = ExpertPlacement::contiguous(1, kExperts, kRanks);
  std::vector<RoutingMap> const routings{routing(1, 4, {2, 3, 4, 6}), routing(0, 4, {}), routing(0, 4, {}),
                                         routing(0, 4, {})};
  auto const phases = [&](Deduplication how) { return routing_traffic(topology, routings, placement, 0, 10, how); };
  CHECK(rows_of(phases(Deduplication::none)[0], 10) == Rows{{{0, 1}, 2}, {{0, 2}, 1}, {{0, 3}, 1}});
  CHECK(rows_of(phases(Deduplication::per_rank)[0], 10) == Rows{{{0, 1}, 1}, {{0, 2}, 1}, {{0, 3}, 1}});
  auto const by_node = phases(Deduplication::per_node);
  REQUIRE(by_node.size() == 2);
  CHECK(rows_of(by_node[0], 10) == Rows{{{0, 0}, 1}, {{0, 2}, 1}});
  CHECK(rows_of(by_node[1], 10) == Rows{{{0, 1}, 1}, {{2, 2}, 1}, {{2, 3}, 1}});
}

TEST_CASE("plans and routings send the same rows") {
  auto const topology = two_nodes();
  auto const placement = ExpertPlacement::contiguous(1, kExperts, kRanks);
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    auto const routings = random_routings(seed);
    AllToAllConfig config;
    config.grid = {1, kRanks};
    auto const plans = plan_alltoall_group(config, routings, placement, 0);
    auto const dispatched = dispatch_traffic(plans, 6);
    auto const straight = routing_traffic(topology, routings, placement, 0, 6, Deduplication::none);
    CHECK(rows_of(dispatched[0], 6) == rows_of(straight[0], 6));
    Rows mirrored;
    for (auto const& [pair, rows] : rows_of(dispatched[0], 6)) mirrored[{pair.second, pair.first}] = rows;
    CHECK(rows_of(combine_traffic(plans, 6)[0], 6) == mirrored);

    FlexConfig flex;
    flex.grid = config.grid;
    auto const once = dispatch_traffic(plan_flex_group(flex, routings, placement, 0), 6);
    CHECK(rows_of(once[0], 6) ==
          rows_of(routing_traffic(topology, routings, placement, 0, 6, Deduplication::per_rank)[0], 6));
  }
}

/// Rows that tokens bring to or take from each rank and node, counted token by token: as often as there are choices,
/// other ranks with a choice, or other nodes with one.
struct Counted {
  std::vector<std::int64_t> from_rank = std::vector<std::int64_t>(kRanks), to_rank = from_rank;
  std::vector<std::int64_t> out_of_node = std::vector<std::int64_t>(kRanks / 2), into_node = out_of_node;
};
Counted counted(std::vector<RoutingMap> const& routings, Deduplication how) {
  Counted counts;
  for (std::size_t from = 0; from < routings.size(); ++from)
    for (std::int64_t token = 0; token < routings[from].num_tokens(); ++token) {
      std::set<std::size_t> ranks, nodes;
      for (std::size_t k = 0; k < 2; ++k) {
        std::int32_t const expert = routings[from].ids()[static_cast<std::size_t>(2 * token) + k];
        if (expert < 0) continue;
        auto const to = static_cast<std::size_t>(expert / 2);
        bool const again = how == Deduplication::per_rank && !ranks.insert(to).second;
        bool const crosses = how == Deduplication::per_node ? nodes.insert(to / 2).second : !again;
        counts.from_rank[from] += again ? 0 : 1;
        counts.to_rank[to] += again ? 0 : 1;
        if (to / 2 == from / 2 || !crosses) continue;
        ++counts.out_of_node[from / 2];
        ++counts.into_node[to / 2];
      }
    }
  return counts;
}

TEST_CASE("every rank and every node sends and receives what its tokens say") {
  auto const topology = two_nodes();
  auto const placement = ExpertPlacement::contiguous(1, kExperts, kRanks);
  auto const nic = [&](LinkClass link_class, int node) {
    int const first = topology.first_link(link_class).value() + 2 * node;
    return std::pair{LinkId(first), LinkId(first + 1)};
  };
  for (std::uint64_t seed = 1; seed <= 200; ++seed)
    for (auto const how : {Deduplication::none, Deduplication::per_rank, Deduplication::per_node}) {
      CAPTURE(seed);
      CAPTURE(to_string(how));
      auto const routings = random_routings(seed);
      LinkAccount account(topology);
      for (auto const& phase : routing_traffic(topology, routings, placement, 0, 6, how)) account.add(phase.flows);
      Counted const counts = counted(routings, how);
      for (int rank = 0; rank < kRanks && how != Deduplication::per_node; ++rank) {
        CHECK(account.sent_bytes(RankId(rank)) == 6 * counts.from_rank[static_cast<std::size_t>(rank)]);
        CHECK(account.received_bytes(RankId(rank)) == 6 * counts.to_rank[static_cast<std::size_t>(rank)]);
      }
      for (int node = 0; node < kRanks / 2; ++node) {
        auto const [out_a, out_b] = nic(LinkClass::nic_out, node);
        auto const [in_a, in_b] = nic(LinkClass::nic_in, node);
        auto const of_node = static_cast<std::size_t>(node);
        CHECK(account.link_bytes(out_a) + account.link_bytes(out_b) == 6 * counts.out_of_node[of_node]);
        CHECK(account.link_bytes(in_a) + account.link_bytes(in_b) == 6 * counts.into_node[of_node]);
      }
    }
}

TEST_CASE("bytes are conserved globally; deduplication never sends more over the network") {
  auto const topology = two_nodes();
  auto const placement = ExpertPlacement::contiguous(1, kExperts, kRanks);
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    auto const routings = random_routings(seed);
    std::int64_t previous_network = INT64_MAX;
    for (auto const how : {Deduplication::none, Deduplication::per_rank, Deduplication::per_node}) {
      auto const phases = routing_traffic(topology, routings, placement, 0, 6, how);
      LinkAccount account(topology);
      for (auto const& phase : phases) account.add(phase.flows);
      std::int64_t sent = 0, received = 0, network_out = 0, network_in = 0;
      for (int rank = 0; rank < kRanks; ++rank) {
        sent += account.sent_bytes(RankId(rank));
        received += account.received_bytes(RankId(rank));
        network_out += account.link_bytes(LinkId(topology.first_link(LinkClass::nic_out).value() + rank));
        network_in += account.link_bytes(LinkId(topology.first_link(LinkClass::nic_in).value() + rank));
      }
      CHECK(sent == total_bytes(phases));
      CHECK(received == sent);
      CHECK(network_out == network_in);
      CHECK(network_out <= previous_network);
      previous_network = network_out;
    }
  }
}

TEST_CASE("a rebalance sends each network copy once") {
  auto const before = ExpertPlacement::contiguous(2, kExperts, kRanks);
  auto const after = ExpertPlacement::round_robin(2, kExperts, SlotLayout::uniform(kRanks, 2));
  auto const plan = plan_rebalance(before, after);
  auto const phases = rebalance_traffic(plan, 100);
  CHECK(total_bytes(phases) == totals(plan).network_copies * 100);
  CHECK(phases.size() == 2);
  CHECK(rebalance_traffic(plan_rebalance(before, before), 100).empty());
  CHECK_THROWS_AS((void)rebalance_traffic(plan, 0), Error);
}

/// A rank receives each expert that it lacks once, however many replicas it will hold.
TEST_CASE("a rebalance of random placements brings every rank what it lacks") {
  ClusterTopology const topology = two_nodes();
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    CounterRng const rng(seed, 0);
    auto const layout = SlotLayout::uniform(kRanks, 3);
    std::vector<std::int32_t> maps[2];
    for (std::uint64_t i = 0; i < 24; ++i) {  // every expert once, then four drawn ones
      auto const drawn = static_cast<std::int32_t>(rng.below(i, kExperts));
      maps[i / 12].push_back(i % 12 < kExperts ? static_cast<std::int32_t>((i + seed * (i / 12)) % kExperts) : drawn);
    }
    auto const placed = [&](std::vector<std::int32_t> const& map) {
      return ExpertPlacement(1, kExperts, layout, std::vector<ExpertId>(map.begin(), map.end()));
    };
    auto const before = placed(maps[0]), after = placed(maps[1]);
    LinkAccount account(topology);
    for (auto const& phase : rebalance_traffic(plan_rebalance(before, after), 100)) account.add(phase.flows);
    for (std::size_t rank = 0; rank < kRanks; ++rank) {
      std::set<std::int32_t> lacks(maps[1].begin() + static_cast<std::ptrdiff_t>(3 * rank),
                                   maps[1].begin() + static_cast<std::ptrdiff_t>(3 * rank + 3));
      for (std::size_t slot = 3 * rank; slot < 3 * rank + 3; ++slot) lacks.erase(maps[0][slot]);
      CHECK(account.received_bytes(RankId(static_cast<int>(rank))) == 100 * static_cast<std::int64_t>(lacks.size()));
    }
  }
}

TEST_CASE("worlds that do not fit are refused with both numbers") {
  auto const placement = ExpertPlacement::contiguous(1, kExperts, kRanks);
  ClusterTopology const topology(cluster_preset("dgx-h100", 1));
  try {
    (void)routing_traffic(topology, random_routings(1), placement, 0, 6, Deduplication::none);
    FAIL("accepted");
  } catch (Error const& error) {
    CHECK(error.code() == ErrorCode::shape_mismatch);
    CHECK(error.message().find("4 routings and a placement on 4 ranks for a cluster of 8") != std::string_view::npos);
  }
  AllToAllConfig config;
  config.grid = {1, kRanks};
  auto plans = plan_alltoall_group(config, random_routings(1), placement, 0);
  plans.pop_back();
  CHECK_THROWS_AS((void)dispatch_traffic(plans, 6), Error);
}
