// SPDX-License-Identifier: Apache-2.0
// Network models on cases worked by hand.
//
// The box: ports of 1 GB/s = 1,000 bytes per us in each direction, pairs not limited further, latency 2 us.
// - One flow of 1,000 bytes takes 1 us on the wire and 2 us of latency: 3 us in T0 and T1. In T2 with chunks of 100
//   bytes the last chunk is stored twice on its way (after the pair's limit and after the port out), 0.2 us more.
// - Incast: 1,000 bytes from rank 0 and 3,000 from rank 1 to rank 2. Both get 500 bytes per us; the first ends after
//   2 us, when the second has 2,000 left and the port for itself: 4 us. With latency 4 and 6 us; the port of rank 2
//   is busy all the time, so T0 is 6 us too.
// - 0 -> 1, 0 -> 2, 3 -> 2 with 1,000 bytes each: port out of 0 and port in of 2 are shared by two flows each, 500
//   each; all end after 2 us.
// - First order, the incast: both keep 500 bytes per us, so the second ends after 6 us, 8 with latency.
// - Merging, 1,000 and 1,100 bytes to rank 2 without latency: unmerged ends at 2 and 2.1 us, T0 2.1. With an allowed
//   error of 0.5 the window is a quarter of that of T0, 0.2625 us: at 500 bytes per us the second would end at 2.2, in
//   the window. Both leave at 2.1, the first 0.1 us late and the second 0.1 early: rank 2's port is even again, the
//   ports of ranks 0 and 1 are half of 0.1 us off, at half their capacity. With two windows 0.575 us are stated, and
//   the result is 0.1 off. An allowed error of 0.1 has a window of 0.0525 us: nothing is merged in it.
#include <doctest/doctest.h>

#include <algorithm>

#include "switchyard/sim/plan_cost.hpp"
#include "switchyard/types/error.hpp"

using namespace switchyard;
using namespace switchyard::sim;

namespace {

ClusterSpec box(int gpus, double latency_us = 2) {
  ClusterSpec spec;
  spec.name = "box";
  spec.gpus_per_node = gpus;
  spec.intra_node = {NodeFabric::nvswitch, 1, 1, latency_us, 0, 1, 0, 0};
  return spec;
}

/// 2 nodes of 2 GPUs, one NIC of 0.5 GB/s per GPU, one rail each.
ClusterSpec two_nodes(NetworkRouting routing) {
  ClusterSpec spec = box(2, 1);
  spec.nodes = 2;
  spec.network = {2, 0.5, 3, 0, true, 1, 0.25, routing};
  return spec;
}

Flow flow(int from, int to, std::int64_t bytes, double start_us = 0) {
  return {RankId(from), RankId(to), bytes, 1, start_us};
}

NetworkEstimate run(Fidelity fidelity, ClusterSpec const& spec, std::vector<Flow> const& flows,
                    NetworkModelOptions const& options = {}) {
  return make_network_model(fidelity, options)->estimate(ClusterTopology(spec), flows);
}

std::vector<LinkClass> classes(ClusterTopology const& topology, int from, int to) {
  std::vector<LinkClass> found;
  Path const path = topology.path(RankId(from), RankId(to));
  for (LinkId const link : path.links()) found.push_back(topology.class_of(link));
  return found;
}

void check_refused(ClusterSpec const& spec, char const* text) {
  CAPTURE(text);
  try {
    require_valid(spec);
    FAIL("accepted");
  } catch (Error const& error) {
    CHECK(error.code() == ErrorCode::invalid_argument);
    CHECK(error.message().find(text) != std::string_view::npos);
  }
}

}  // namespace

TEST_CASE("one flow alone") {
  std::vector<Flow> const flows{flow(0, 1, 1000)};
  CHECK(run(Fidelity::t0, box(2), flows).makespan_us == doctest::Approx(3));
  CHECK(run(Fidelity::t1, box(2), flows).makespan_us == doctest::Approx(3));
  CHECK(run(Fidelity::t2, box(2), flows, {.chunk_bytes = 100}).makespan_us == doctest::Approx(3.2));
}

TEST_CASE("T2: channels and their speed hold a sender back") {
  // Two flows of 1,000 bytes to two ranks over a port of 1,000 bytes per us, chunks of 100, no latency. Free: chunks of
  // both wait at the port from 0.1 us on, which takes 2 us, and the last one takes 0.1 us more at its receiver. A
  // single channel sends a chunk per 0.1 us, and one at a quarter of the port's speed one per 0.4 us: 8 us, then two
  // links.
  std::vector<Flow> const flows{flow(0, 1, 1000), flow(0, 2, 1000)};
  auto const time = [&](int channels, double gb_per_s) {
    return run(Fidelity::t2, box(3, 0), flows,
               {.chunk_bytes = 100, .channels_per_rank = channels, .channel_gb_per_s = gb_per_s})
        .makespan_us;
  };
  CHECK(time(0, 0) == doctest::Approx(2.2));
  CHECK(time(1, 0) == doctest::Approx(2.2));
  CHECK(time(1, 0.25) == doctest::Approx(8.2));
  CHECK(time(2, 0.25) == doctest::Approx(4.3));  // the last two chunks meet at the port
  CHECK(time(0, 0.25) == time(2, 0.25));
  CHECK_THROWS_AS((void)time(-1, 0), Error);
  CHECK_THROWS_AS((void)time(1, -1), Error);
}

TEST_CASE("incast: the port of the hot rank is shared, then belongs to the longer flow") {
  std::vector<Flow> const flows{flow(0, 2, 1000), flow(1, 2, 3000)};
  auto const t1 = run(Fidelity::t1, box(3), flows);
  CHECK(t1.finish_us[0] == doctest::Approx(4));
  CHECK(t1.finish_us[1] == doctest::Approx(6));
  CHECK(t1.makespan_us == doctest::Approx(6));
  CHECK(run(Fidelity::t0, box(3), flows).makespan_us == doctest::Approx(6));
  ClusterTopology const topology(box(3));
  CHECK(topology.name_of(t1.bottleneck) == "gpu_in of rank 2");
}

TEST_CASE("first order: nothing is handed on") {
  auto const first = run(Fidelity::t1_first_order, box(3), {flow(0, 2, 1000), flow(1, 2, 3000)});
  CHECK(first.finish_us[0] == doctest::Approx(4));
  CHECK(first.finish_us[1] == doctest::Approx(8));
  CHECK(first.makespan_us == doctest::Approx(8));
  CHECK(first.events == 1);
}

TEST_CASE("merging: flows leave together at the mean of their ends") {
  std::vector<Flow> const flows{flow(0, 2, 1000), flow(1, 2, 1100)};
  auto const time = [&](double fraction) { return run(Fidelity::t1, box(3, 0), flows, {.merge_fraction = fraction}); };
  CHECK(time(0).makespan_us == doctest::Approx(2.1));
  CHECK(time(0).merge_error_us == 0);
  CHECK(time(0.5).finish_us[0] == doctest::Approx(2));
  CHECK(time(0.5).makespan_us == doctest::Approx(2.2));
  CHECK(time(0.5).merge_error_us == doctest::Approx(0.575));
  CHECK(time(0.5).events < time(0).events);
  CHECK(time(0.1).makespan_us == doctest::Approx(2.1));
  CHECK(time(0.1).merge_error_us == doctest::Approx(0.105));
  CHECK_THROWS_AS((void)time(1), Error);
  CHECK_THROWS_AS((void)time(-0.1), Error);
}

TEST_CASE("chained sharing") {
  auto const t1 = run(Fidelity::t1, box(4, 0), {flow(0, 1, 1000), flow(0, 2, 1000), flow(3, 2, 1000)});
  for (double const us : t1.finish_us) CHECK(us == doctest::Approx(2));
}

TEST_CASE("a pair limit leaves the rest of the port to others") {
  ClusterSpec spec = box(3, 0);
  spec.intra_node.peer_gb_per_s = 0.25;
  auto const t1 = run(Fidelity::t1, spec, {flow(0, 1, 1000), flow(0, 2, 500)});
  CHECK(t1.finish_us[0] == doctest::Approx(4));
  CHECK(t1.finish_us[1] == doctest::Approx(2));
}

TEST_CASE("starts, local bytes, empty flows and message costs") {
  auto const t1 = run(Fidelity::t1, box(3), {flow(0, 2, 1000, 5), flow(1, 1, 1 << 20), flow(1, 2, 0, 7)});
  CHECK(t1.finish_us[0] == doctest::Approx(8));
  CHECK(t1.finish_us[1] == doctest::Approx(0));
  CHECK(t1.finish_us[2] == doctest::Approx(9));
  ClusterSpec spec = box(3, 0);
  spec.intra_node.message_us = 0.5;  // the second flow of rank 0 leaves after two messages are paid
  auto const paid = run(Fidelity::t1, spec, {flow(0, 1, 1000), flow(0, 2, 1000)});
  CHECK(paid.finish_us[0] == doctest::Approx(2));  // alone from 0.5 to 1, half a port until 2
  CHECK(paid.finish_us[1] == doctest::Approx(2.5));
  CHECK(run(Fidelity::t1, spec, {}).makespan_us == 0);
  CHECK(run(Fidelity::t2, spec, {}).makespan_us == 0);
}

TEST_CASE("ways between nodes follow the routing rule") {
  using enum LinkClass;
  using Links = std::vector<LinkClass>;
  ClusterTopology const direct(two_nodes(NetworkRouting::direct));
  CHECK(classes(direct, 0, 1) == Links{gpu_out, gpu_in});
  CHECK(classes(direct, 0, 2) == Links{nic_out, leaf_up, leaf_down, nic_in});
  CHECK(classes(direct, 0, 3) == Links{nic_out, leaf_up, leaf_down, nic_in});
  CHECK(classes(direct, 1, 1).empty());
  ClusterTopology const rail(two_nodes(NetworkRouting::rail_forward));
  CHECK(classes(rail, 0, 3) == Links{gpu_out, gpu_in, nic_out, leaf_up, leaf_down, nic_in});
  auto const path = rail.path(RankId(0), RankId(3));
  CHECK(rail.name_of(path.links()[2]) == "nic_out of NIC 1");
  ClusterTopology const two_hops(two_nodes(NetworkRouting::hierarchical));
  CHECK(classes(two_hops, 0, 3) == Links{nic_out, leaf_up, leaf_down, nic_in, gpu_out, gpu_in});
  CHECK(two_hops.path(RankId(0), RankId(3)).latency_us == doctest::Approx(4));
  ClusterTopology const one_leaf([] {
    auto spec = two_nodes(NetworkRouting::direct);
    spec.network.nodes_per_leaf = 2;
    return spec;
  }());
  CHECK(classes(one_leaf, 0, 2) == Links{nic_out, nic_in});
  CHECK(classes(one_leaf, 0, 3) == Links{nic_out, leaf_up, leaf_down, nic_in});  // other rail: through the spine
}

TEST_CASE("PCIe boxes share a bridge") {
  using enum LinkClass;
  ClusterTopology const box_of_8(cluster_preset("l40s-8", 1));
  CHECK(classes(box_of_8, 0, 1) == std::vector<LinkClass>{gpu_out, gpu_in});
  CHECK(classes(box_of_8, 0, 2) == std::vector<LinkClass>{gpu_out, pcie_out, host_bridge, pcie_in, gpu_in});
}

TEST_CASE("accounts conserve bytes") {
  ClusterTopology const topology(two_nodes(NetworkRouting::rail_forward));
  LinkAccount account(topology);
  account.add(std::vector<Flow>{flow(0, 3, 600), flow(0, 0, 50), flow(2, 1, 10)});
  CHECK(account.total_bytes() == 660);
  CHECK(account.local_bytes() == 50);
  CHECK(account.sent_bytes(RankId(0)) == 650);
  CHECK(account.received_bytes(RankId(3)) == 600);
  CHECK(account.link_bytes(LinkId(topology.first_link(LinkClass::nic_out).value() + 1)) == 600);
  CHECK(account.link_bytes(topology.first_link(LinkClass::nic_out)) == 0);
  CHECK_THROWS_AS(account.add(flow(0, 4, 1)), Error);
  CHECK_THROWS_AS(account.add(flow(0, 1, -1)), Error);
}

TEST_CASE("specs that cannot be are refused by name") {
  ClusterSpec spec = two_nodes(NetworkRouting::direct);
  CHECK_NOTHROW(require_valid(spec));
  auto const with = [&](auto change) {
    ClusterSpec changed = spec;
    change(changed);
    return changed;
  };
  check_refused(with([](auto& s) { s.intra_node.gpu_gb_per_s = 0; }), "intra_node.gpu_gb_per_s is 0 GB/s");
  check_refused(with([](auto& s) { s.network.nic_gb_per_s = -1; }), "network.nic_gb_per_s is -1 GB/s");
  check_refused(with([](auto& s) { s.network.latency_us = -3; }), "network.latency_us is -3 us");
  check_refused(with([](auto& s) { s.network.nics_per_node = 0; }), "ranks 0 and 2 are not connected");
  check_refused(with([](auto& s) { s.intra_node.peer_gb_per_s = 2; }), "a pair cannot exceed its port");
  check_refused(with([](auto& s) { s.network.nics_per_node = 3; }), "cannot share them evenly");
  check_refused(with([](auto& s) { s.nodes = 0; }), "0 nodes");
  check_refused(with([](auto& s) { s.nodes = 1 << 30; }), "more than");
  CHECK_THROWS_AS((void)run(Fidelity::t2, cluster_preset("dgx-h100", 33), {}), Error);
}

TEST_CASE("specs survive JSON, presets are sound and name their sources") {
  for (auto const& name : cluster_preset_names()) {
    CAPTURE(name);
    ClusterSpec const spec = cluster_preset(name, 3);
    std::string const text = to_json(spec);
    ClusterSpec const back = cluster_spec_from_json(text, "preset.json");
    CHECK(to_json(back) == text);
    CHECK(ClusterTopology(back).fingerprint() == ClusterTopology(spec).fingerprint());
    // Every constant that the file has names its source.
    for (auto const& constant : cluster_constant_names()) {
      CAPTURE(constant);
      bool const used = text.find(constant.substr(constant.find('.') + 1)) != std::string::npos;
      if (used) CHECK(spec.sources.count(constant) == 1);
    }
  }
  CHECK_THROWS_AS((void)cluster_preset("dgx-h1000", 1), Error);
}

TEST_CASE("broken files are refused with place and value") {
  std::string const good = to_json(cluster_preset("dgx-h100", 2));
  auto const refused = [&](std::string const& from, std::string const& to, char const* text) {
    std::string broken = good;
    broken.replace(broken.find(from), from.size(), to);
    CAPTURE(to);
    try {
      (void)cluster_spec_from_json(broken, "c.json");
      FAIL("accepted");
    } catch (Error const& error) {
      CHECK(error.message().find(text) != std::string_view::npos);
    }
  };
  refused("\"nvswitch\"", "\"ring\"", "$.intra_node.fabric: found \"ring\"");
  refused("\"rails\": true", "\"rails\": 1", "$.network.rails");
  refused("\"schema_version\": 1", "\"schema_version\": 2", "$.schema_version: found 2");
  refused("\"latency_us\": 1.9", "\"latency\": 1.9", "$.intra_node");
  CHECK_THROWS_AS((void)cluster_spec_from_json(good.substr(0, good.size() / 2), "c.json"), Error);
}
