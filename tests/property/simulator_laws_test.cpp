// SPDX-License-Identifier: Apache-2.0
// Laws of the network models on random flows over random clusters, and T1 against plain loops.
//
// Worked example of "halving": 0 -> 1 with 1,000 bytes over ports of 1,000 bytes per us without latency takes 1 us in
// T0 and T1; at 500 bytes per us it takes 2.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "oracle/fluid_oracle.hpp"
#include "support/draw.hpp"
#include "switchyard/sim/plan_cost.hpp"
#include "switchyard/types/error.hpp"

using namespace switchyard;
using namespace switchyard::sim;
using support::Draw;

namespace {

constexpr int kCases = 300;

ClusterSpec random_spec(Draw& draw, bool latencies) {
  ClusterSpec spec;
  spec.name = "random";
  spec.nodes = 1 + draw.below(3);
  spec.gpus_per_node = 1 << draw.below(3);
  double const port = draw.real(1, 10);
  bool const pcie = draw.below(3) == 0;
  spec.intra_node = {pcie ? NodeFabric::pcie : NodeFabric::nvswitch,
                     port,
                     port * draw.real(0.3, 1),
                     latencies ? draw.real(0, 3) : 0,
                     latencies ? draw.real(0, 0.2) : 0,
                     std::min(2, spec.gpus_per_node),
                     draw.real(1, 5),
                     draw.real(1, 5)};
  auto const routing = static_cast<NetworkRouting>(draw.below(3));
  spec.network = {1 << draw.below(3),
                  draw.real(0.2, 2),
                  latencies ? draw.real(0, 5) : 0,
                  0,
                  true,
                  1 + draw.below(2),
                  draw.real(0.2, 4),
                  routing};
  return spec;
}

std::vector<Flow> random_flows(Draw& draw, int ranks, bool starts) {
  std::vector<Flow> flows;
  int const count = 1 + draw.below(24);
  for (int i = 0; i < count; ++i)
    flows.push_back({RankId(draw.below(ranks)), RankId(draw.below(ranks)),
                     draw.below(6) == 0 ? 0 : 1 + draw.below(40000), 1 + draw.below(2),
                     starts && draw.below(3) == 0 ? draw.real(0, 20) : 0});
  return flows;
}

double makespan(Fidelity fidelity, ClusterTopology const& topology, std::vector<Flow> const& flows,
                NetworkModelOptions const& options = {}) {
  return make_network_model(fidelity, options)->estimate(topology, flows).makespan_us;
}

/// The constant of the cluster that `link` hangs on; of a pair's limit when no link attains the bound.
std::string constant_of(ClusterTopology const& topology, LinkId link) {
  if (!link.valid()) return "intra_node.peer_gb_per_s";
  switch (topology.class_of(link)) {
    case LinkClass::gpu_out:
    case LinkClass::gpu_in: return "intra_node.gpu_gb_per_s";
    case LinkClass::pcie_out:
    case LinkClass::pcie_in: return "intra_node.pcie_switch_gb_per_s";
    case LinkClass::host_bridge: return "intra_node.host_bridge_gb_per_s";
    case LinkClass::nic_out:
    case LinkClass::nic_in: return "network.nic_gb_per_s";
    default: return "network.leaf_uplink_gb_per_s";
  }
}

double value_of(ClusterSpec const& spec, std::string const& name) {
  if (name == "intra_node.peer_gb_per_s") return spec.intra_node.peer_gb_per_s;
  if (name == "intra_node.gpu_gb_per_s") return spec.intra_node.gpu_gb_per_s;
  if (name == "intra_node.pcie_switch_gb_per_s") return spec.intra_node.pcie_switch_gb_per_s;
  if (name == "intra_node.host_bridge_gb_per_s") return spec.intra_node.host_bridge_gb_per_s;
  return name == "network.nic_gb_per_s" ? spec.network.nic_gb_per_s : spec.network.leaf_uplink_gb_per_s;
}

}  // namespace

TEST_CASE("T0 is a lower bound of T1 and of T2") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterTopology const topology(random_spec(draw, true));
    auto const flows = random_flows(draw, topology.num_ranks(), true);
    double const t0 = makespan(Fidelity::t0, topology, flows);
    CHECK(makespan(Fidelity::t1, topology, flows) >= t0 * (1 - 1e-9));
    CHECK(makespan(Fidelity::t2, topology, flows, {.chunk_bytes = 4096}) >= t0 * (1 - 1e-9));
  }
}

TEST_CASE("T1 equals plain loops") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterTopology const topology(random_spec(draw, false));
    auto const flows = random_flows(draw, topology.num_ranks(), false);
    std::vector<double> capacity;
    for (int link = 0; link < topology.num_links(); ++link) capacity.push_back(topology.bytes_per_us(LinkId(link)));
    std::vector<oracle::FluidFlow> plain;
    for (Flow const& flow : flows) {
      Path const path = topology.path(flow.from, flow.to);
      oracle::FluidFlow one{path.num_hops > 0 ? static_cast<double>(flow.bytes) : 0, path.peer_bytes_per_us, {}};
      for (LinkId const link : path.links()) one.links.push_back(link.index());
      plain.push_back(one);
    }
    auto const expected = oracle::fluid_ends(plain, capacity);
    auto const got = make_network_model(Fidelity::t1)->estimate(topology, flows).finish_us;
    for (std::size_t f = 0; f < flows.size(); ++f) CHECK(got[f] == doctest::Approx(expected[f]).epsilon(1e-6));
  }
}

TEST_CASE("halving the link that attains T0 lengthens T1 wherever T1 attains T0") {
  int attained = 0;
  for (std::uint64_t seed = 1; seed <= 2 * kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterSpec const spec = random_spec(draw, false);
    ClusterTopology const topology(spec);
    auto const flows = random_flows(draw, topology.num_ranks(), false);
    auto const t0 = make_network_model(Fidelity::t0)->estimate(topology, flows);
    double const t1 = makespan(Fidelity::t1, topology, flows);
    if (t0.makespan_us == 0 || t1 > t0.makespan_us * (1 + 1e-9)) continue;
    ++attained;
    std::string const name = constant_of(topology, t0.bottleneck);
    CAPTURE(name);
    ClusterTopology const slower(with_constant(spec, name, value_of(spec, name) / 2));
    CHECK(makespan(Fidelity::t1, slower, flows) >= 2 * t1 * (1 - 1e-9));
  }
  CHECK(attained > kCases / 2);
}

/// The same flows as if all bytes, all capacities or all times were changed alike.
TEST_CASE("T0 and T1 scale: bytes, capacities, order of flows") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterSpec const spec = random_spec(draw, false);
    ClusterTopology const topology(spec);
    auto const flows = random_flows(draw, topology.num_ranks(), false);
    std::vector<Flow> longer = flows, turned(flows.rbegin(), flows.rend());
    for (Flow& flow : longer) flow.bytes *= 3;
    ClusterSpec faster = spec;
    for (double* rate :
         {&faster.intra_node.gpu_gb_per_s, &faster.intra_node.peer_gb_per_s, &faster.intra_node.pcie_switch_gb_per_s,
          &faster.intra_node.host_bridge_gb_per_s, &faster.network.nic_gb_per_s, &faster.network.leaf_uplink_gb_per_s})
      *rate *= 3;
    for (auto const fidelity : {Fidelity::t0, Fidelity::t1, Fidelity::t1_first_order}) {
      CAPTURE(to_string(fidelity));
      double const us = makespan(fidelity, topology, flows);
      CHECK(makespan(fidelity, topology, longer) == doctest::Approx(3 * us).epsilon(1e-9));
      CHECK(makespan(fidelity, ClusterTopology(faster), flows) == doctest::Approx(us / 3).epsilon(1e-9));
      CHECK(makespan(fidelity, topology, turned) == doctest::Approx(us).epsilon(1e-9));
    }
  }
}

TEST_CASE("a second box that shares no link changes nothing for the flows of the first") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterSpec spec = random_spec(draw, true);
    spec.nodes = 2;
    ClusterTopology const topology(spec);
    std::vector<Flow> first, both;
    for (Flow const& flow : random_flows(draw, spec.gpus_per_node, true)) first.push_back(flow);
    both = first;
    for (Flow flow : random_flows(draw, spec.gpus_per_node, true)) {
      flow.from = RankId(flow.from.value() + spec.gpus_per_node);
      flow.to = RankId(flow.to.value() + spec.gpus_per_node);
      both.push_back(flow);
    }
    auto const model = make_network_model(Fidelity::t1);
    auto const alone = model->estimate(topology, first).finish_us;
    auto beside = model->estimate(topology, both).finish_us;
    beside.resize(first.size());
    CHECK(beside == alone);
  }
}

TEST_CASE("bytes are conserved globally, per rank and per node, whatever the way") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterTopology const topology(random_spec(draw, true));
    auto const flows = random_flows(draw, topology.num_ranks(), true);
    LinkAccount account(topology);
    account.add(flows);
    std::vector<std::int64_t> sent(static_cast<std::size_t>(topology.num_ranks())), received = sent;
    std::vector<std::int64_t> left(static_cast<std::size_t>(topology.spec().nodes)), came = left;
    std::int64_t total = 0;
    for (Flow const& flow : flows) {
      total += flow.bytes;
      sent[flow.from.index()] += flow.bytes;
      received[flow.to.index()] += flow.bytes;
      if (topology.node_of(flow.from) == topology.node_of(flow.to)) continue;
      left[topology.node_of(flow.from).index()] += flow.bytes;
      came[topology.node_of(flow.to).index()] += flow.bytes;
    }
    CHECK(account.total_bytes() == total);
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      CHECK(account.sent_bytes(RankId(rank)) == sent[static_cast<std::size_t>(rank)]);
      CHECK(account.received_bytes(RankId(rank)) == received[static_cast<std::size_t>(rank)]);
    }
    std::vector<std::int64_t> of_class(kNumLinkClasses), out_of_node(left.size()), into_node(left.size());
    for (int id = 0; id < topology.num_links(); ++id) {
      LinkId const link(id);
      LinkClass const link_class = topology.class_of(link);
      of_class[static_cast<std::size_t>(link_class)] += account.link_bytes(link);
      if (link_class != LinkClass::nic_out && link_class != LinkClass::nic_in) continue;
      auto const nic = id - topology.first_link(link_class).value();
      auto& of_node = link_class == LinkClass::nic_out ? out_of_node : into_node;
      of_node[static_cast<std::size_t>(nic / topology.spec().network.nics_per_node)] += account.link_bytes(link);
    }
    CHECK(out_of_node == left);
    CHECK(into_node == came);
    using enum LinkClass;
    auto const same = [&](LinkClass a, LinkClass b) {
      return of_class[static_cast<std::size_t>(a)] == of_class[static_cast<std::size_t>(b)];
    };
    CHECK((same(gpu_out, gpu_in) && same(pcie_out, pcie_in) && same(nic_out, nic_in) && same(leaf_up, leaf_down)));
  }
}

TEST_CASE("T2: no rank sends faster than its channels do") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterTopology const topology(random_spec(draw, true));
    auto const flows = random_flows(draw, topology.num_ranks(), true);
    int const channels = 1 + draw.below(4);
    double const gb_per_s = draw.real(0.05, 1);
    double const us = makespan(Fidelity::t2, topology, flows,
                               {.chunk_bytes = 1024, .channels_per_rank = channels, .channel_gb_per_s = gb_per_s});
    CHECK(us >= makespan(Fidelity::t0, topology, flows) * (1 - 1e-9));
    std::vector<double> sent(static_cast<std::size_t>(topology.num_ranks()));
    for (Flow const& flow : flows)
      if (flow.from != flow.to) sent[flow.from.index()] += static_cast<double>(flow.bytes);
    CHECK(us >= *std::max_element(sent.begin(), sent.end()) / (channels * gb_per_s * 1000) * (1 - 1e-9));
  }
}

TEST_CASE("T2 runs 256 ranks, and refuses one node more") {
  ClusterTopology const topology(cluster_preset("dgx-h100", 32));
  Draw draw(5);
  std::vector<Flow> flows;
  for (int from = 0; from < 256; ++from)
    for (int i = 0; i < 8; ++i) flows.push_back({RankId(from), RankId(draw.below(256)), 1 + draw.below(1 << 19), 1, 0});
  double const t0 = makespan(Fidelity::t0, topology, flows);
  double const t2 = makespan(Fidelity::t2, topology, flows);
  CHECK(t2 >= t0);
  CHECK(t2 < 10 * t0);
  CHECK_THROWS_AS((void)makespan(Fidelity::t2, ClusterTopology(cluster_preset("dgx-h100", 33)), flows), Error);
}

TEST_CASE("T2 approaches T1 as chunks shrink") {
  double worst_coarse = 0, worst_fine = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterTopology const topology(random_spec(draw, false));
    auto const flows = random_flows(draw, topology.num_ranks(), false);
    double const t1 = makespan(Fidelity::t1, topology, flows);
    if (t1 == 0) continue;
    auto const error = [&](std::int64_t chunk) {
      return std::abs(makespan(Fidelity::t2, topology, flows, {.chunk_bytes = chunk, .window_chunks = 64}) / t1 - 1);
    };
    worst_coarse = std::max(worst_coarse, error(8192));
    double const fine = error(64);
    CHECK(fine < 0.10);
    worst_fine = std::max(worst_fine, fine);
  }
  MESSAGE("largest |T2/T1 - 1|: 8 KiB chunks " << worst_coarse << ", 64 B chunks " << worst_fine);
  CHECK(worst_fine < worst_coarse);
}

TEST_CASE("merging states an error of at most the fraction, and keeps it") {
  for (double const fraction : {0.1, 0.01, 0.001}) {
    CAPTURE(fraction);
    std::int64_t exact_events = 0, merged_events = 0;
    for (std::uint64_t seed = 1; seed <= 5 * kCases; ++seed) {
      CAPTURE(seed);
      Draw draw(seed);
      ClusterTopology const topology(random_spec(draw, true));
      auto const flows = random_flows(draw, topology.num_ranks(), true);
      auto const exact = make_network_model(Fidelity::t1)->estimate(topology, flows);
      auto const merged = make_network_model(Fidelity::t1, {.merge_fraction = fraction})->estimate(topology, flows);
      double const slack_us = 1e-9 * exact.makespan_us;
      CHECK(std::abs(merged.makespan_us - exact.makespan_us) <= merged.merge_error_us + slack_us);
      CHECK(merged.merge_error_us <= fraction * merged.makespan_us);
      CHECK(merged.makespan_us >= makespan(Fidelity::t0, topology, flows) * (1 - 1e-9));
      exact_events += exact.events;
      merged_events += merged.events;
    }
    CHECK(merged_events < exact_events);
  }
}

/// 8 nodes of 8 GPUs, every pair, sizes drawn: many flows end in every window and share a class.
TEST_CASE("merging the flows of a drawn layer") {
  for (auto const routing : {NetworkRouting::direct, NetworkRouting::rail_forward, NetworkRouting::hierarchical}) {
    CAPTURE(to_string(routing));
    ClusterSpec spec = cluster_preset("dgx-h100", 8);
    spec.network.routing = routing;
    ClusterTopology const topology(spec);
    Draw draw(11);
    std::vector<Flow> flows;
    for (int from = 0; from < 64; ++from)
      for (int to = 0; to < 64; ++to) flows.push_back({RankId(from), RankId(to), draw.below(1 << 20), 1, 0});
    auto const exact = make_network_model(Fidelity::t1)->estimate(topology, flows);
    auto const merged = make_network_model(Fidelity::t1, {.merge_fraction = 1e-3})->estimate(topology, flows);
    double const off_us = std::abs(merged.makespan_us - exact.makespan_us);
    MESSAGE("events " << exact.events << " and " << merged.events << ", off by " << off_us / exact.makespan_us
                      << " of the makespan, stated " << merged.merge_error_us / exact.makespan_us);
    CHECK(off_us <= merged.merge_error_us);
    CHECK(merged.merge_error_us > 0);
    CHECK(merged.merge_error_us <= 1e-3 * merged.makespan_us);
    CHECK(merged.events < exact.events);
    CHECK(exact.merge_error_us == 0);
  }
}

TEST_CASE("a first order carries all bytes, is no faster than T0, and exact where nothing is handed on") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterTopology const topology(random_spec(draw, true));
    auto const flows = random_flows(draw, topology.num_ranks(), true);
    double const first = makespan(Fidelity::t1_first_order, topology, flows);
    CHECK(first >= makespan(Fidelity::t0, topology, flows) * (1 - 1e-9));
    std::vector<Flow> even(flows.begin(), flows.begin() + 1);
    CHECK(makespan(Fidelity::t1_first_order, topology, even) ==
          doctest::Approx(makespan(Fidelity::t1, topology, even)));
  }
  std::vector<Flow> all_pairs;  // equal sizes: all flows of a node end together
  for (int from = 0; from < 8; ++from)
    for (int to = 0; to < 8; ++to) all_pairs.push_back({RankId(from), RankId(to), 1 << 20, 0, 0});
  ClusterTopology const node(cluster_preset("dgx-h100", 1));
  CHECK(makespan(Fidelity::t1_first_order, node, all_pairs) ==
        doctest::Approx(makespan(Fidelity::t1, node, all_pairs)));
}

TEST_CASE("same input, same bits; the order of independent runs does not matter") {
  Draw draw(7);
  ClusterTopology const topology(cluster_preset("dgx-h100", 2));
  auto const flows = random_flows(draw, topology.num_ranks(), true);
  for (auto const fidelity : {Fidelity::t1, Fidelity::t2}) {
    auto const model = make_network_model(fidelity);
    CHECK(model->estimate(topology, flows).finish_us == model->estimate(topology, flows).finish_us);
  }
}
