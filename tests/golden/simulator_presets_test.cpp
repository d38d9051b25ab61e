// SPDX-License-Identifier: Apache-2.0
// What every preset says about one and the same traffic: a change of a constant, a path or a model shows here.
//
// The traffic: workload W2 (the experts of one rank are hot), seed 1, 64 tokens on every rank, top-8 of four experts
// per rank in contiguous blocks, 14,336 bytes per row, every token once per destination rank; on two nodes of every
// preset, and on one, where the network between nodes does not hide what is inside. Times are rounded to a millionth of
// a microsecond. The bytes are our own: they say that nothing has changed, not that it is right.
#include <doctest/doctest.h>

#include <cstdio>

#include "switchyard/sim/plan_cost.hpp"
#include "switchyard/sim/workload.hpp"

using namespace switchyard;
using namespace switchyard::sim;

namespace {

constexpr std::int64_t kRowBytes = 14336;

struct Golden {
  char const* preset;
  int nodes;
  char const *t0_us, *t1_us, *first_order_us, *t2_us;
  char const* bottleneck;
};

constexpr Golden kGolden[] = {
    {"dgx-h100", 2, "155.045278", "158.945278", "159.240866", "160.296536", "nic_out of NIC 9"},
    {"dgx-h200", 2, "155.045278", "158.945278", "159.240866", "160.296536", "nic_out of NIC 9"},
    {"dgx-b200", 2, "155.045278", "158.945278", "159.240866", "160.296536", "nic_out of NIC 9"},
    {"gb200-nvl72", 2, "790.263093", "805.163093", "1000.886227", "806.849945", "nic_out of NIC 87"},
    {"dgx-a100", 2, "315.731745", "319.631745", "320.241787", "322.420511", "nic_out of NIC 9"},
    {"l40s-8", 2, "1897.546667", "1898.546667", "4899.354667", "1904.008000", "nic_out of NIC 1"},
    {"dgx-h100", 1, "16.172284", "16.272284", "16.272284", "16.651977", "gpu_in of rank 0"},
    {"dgx-h200", 1, "16.172284", "16.272284", "16.272284", "16.637104", "gpu_in of rank 0"},
    {"dgx-b200", 1, "9.036142", "9.136142", "9.136142", "9.406358", "gpu_in of rank 0"},
    {"gb200-nvl72", 1, "60.024516", "60.750140", "67.164213", "60.987293", "gpu_in of rank 7"},
    {"dgx-a100", 1, "23.308427", "23.408427", "23.408427", "24.026490", "gpu_in of rank 0"},
    {"l40s-8", 1, "1562.436000", "1562.936000", "2755.512000", "1574.106909", "host_bridge of node 0"},
};

std::string text_of(double us) {
  char buffer[64];
  (void)std::snprintf(buffer, sizeof buffer, "%.6f", us);
  return buffer;
}

std::vector<Flow> traffic_on(ClusterTopology const& topology) {
  RoutingShape const shape{topology.num_ranks(), 4 * topology.num_ranks(), 8, 64};
  auto const routings = generate_routing(workload_spec(Workload::w2, shape, 1, 0));
  auto const placement = ExpertPlacement::contiguous(1, shape.num_experts, shape.num_ranks);
  return routing_traffic(topology, routings, placement, 0, kRowBytes, Deduplication::per_rank).front().flows;
}

}  // namespace

TEST_CASE("presets: golden times and bottlenecks") {
  std::size_t shown = 0;
  for (Golden const& golden : kGolden) {
    CAPTURE(golden.preset);
    CAPTURE(golden.nodes);
    ClusterTopology const topology(cluster_preset(golden.preset, golden.nodes));
    auto const flows = traffic_on(topology);
    auto const time = [&](Fidelity fidelity, NetworkModelOptions const& options = {}) {
      return text_of(make_network_model(fidelity, options)->estimate(topology, flows).makespan_us);
    };
    CHECK(time(Fidelity::t0) == golden.t0_us);
    CHECK(time(Fidelity::t1) == golden.t1_us);
    CHECK(time(Fidelity::t1_first_order) == golden.first_order_us);
    CHECK(time(Fidelity::t2) == golden.t2_us);
    auto const bottleneck = make_network_model(Fidelity::t0)->estimate(topology, flows).bottleneck;
    CHECK((bottleneck.valid() ? topology.name_of(bottleneck) : "none") == golden.bottleneck);
    shown += golden.nodes == 2 ? 1 : 0;
  }
  CHECK(shown == cluster_preset_names().size());
}
