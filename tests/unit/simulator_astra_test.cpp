// SPDX-License-Identifier: Apache-2.0
// Network files of ASTRA-sim as clusters.
//
// Worked example: [ Switch, Ring ] of [ 8, 2 ] NPUs, [ 400, 50 ] GB/s of 2^30 bytes, [ 900, 1000 ] ns: ports of 429.5
// GB/s with 1.8 us (two links into and out of the switch), two nodes joined by eight rails of 53.69 GB/s and 1 us.
#include <doctest/doctest.h>

#include "switchyard/sim/cluster_topology.hpp"
#include "switchyard/types/error.hpp"

using namespace switchyard;
using namespace switchyard::sim;

namespace {

constexpr double kGb = 1.073741824;

char const* const kYaml = R"(# a box and its pair
topology: [ Switch, Ring ]  # Ring, Switch, FullyConnected
npus_count: [ 8, 2 ]
#bandwidth: [ 820 ]
bandwidth: [400, 50 ]  # GB/s
latency: [ 900, 1000.0 ]  # ns
)";

void check_refused(std::string text, std::string const& from, std::string const& to, ErrorCode code, char const* part) {
  CAPTURE(to);
  REQUIRE(text.find(from) != std::string::npos);
  text.replace(text.find(from), from.size(), to);
  try {
    (void)cluster_spec_from_text(text, "net");
    FAIL("accepted");
  } catch (Error const& error) {
    CAPTURE(error.message());
    CHECK(error.code() == code);
    CHECK(error.message().find(part) != std::string_view::npos);
  }
}

}  // namespace

TEST_CASE("ASTRA-sim: worked example as YAML and as JSON") {
  for (std::string const& text :
       {std::string(kYaml), std::string(R"({"topology": ["Switch", "Ring"], "npus_count": [8, 2],
                                        "bandwidth": [400, 50], "latency": [900, 1000]})")}) {
    CAPTURE(text);
    ClusterSpec const spec = cluster_spec_from_text(text, "net");
    CHECK(spec.nodes == 2);
    CHECK(spec.gpus_per_node == 8);
    CHECK(spec.intra_node.gpu_gb_per_s == doctest::Approx(400 * kGb));
    CHECK(spec.intra_node.peer_gb_per_s == spec.intra_node.gpu_gb_per_s);
    CHECK(spec.intra_node.latency_us == doctest::Approx(1.8));
    CHECK(spec.network.nics_per_node == 8);
    CHECK(spec.network.nic_gb_per_s == doctest::Approx(50 * kGb));
    CHECK(spec.network.latency_us == doctest::Approx(1));
    // Rail by rail: from GPU 1 of node 0 to GPU 3 of node 1 over GPU 3 of node 0, without a spine.
    ClusterTopology const topology(spec);
    Path const path = topology.path(RankId(1), RankId(11));
    CHECK(path.num_hops == 4);
    CHECK(topology.name_of(path.hops[1]) == "gpu_in of rank 3");
    CHECK(topology.name_of(path.hops[3]) == "nic_in of NIC 11");
    CHECK(to_json(cluster_spec_from_json(to_json(spec), "again")) == to_json(spec));
  }
}

TEST_CASE("ASTRA-sim: one dimension, full meshes, dimensions of one") {
  auto const mesh = cluster_spec_from_text(
      "topology: [FullyConnected, Switch]\nnpus_count: [4, 1]\nbandwidth: [25, 1]\nlatency: [500, 1]", "net");
  CHECK(mesh.nodes == 1);
  CHECK(mesh.intra_node.gpu_gb_per_s == doctest::Approx(75 * kGb));
  CHECK(mesh.intra_node.peer_gb_per_s == doctest::Approx(25 * kGb));
  CHECK(mesh.intra_node.latency_us == doctest::Approx(0.5));
  auto const ring = cluster_spec_from_text("topology: [Ring]\nnpus_count: [3]\nbandwidth: [25]\nlatency: [0]\n", "net");
  CHECK(ring.intra_node.gpu_gb_per_s == doctest::Approx(50 * kGb));
}

TEST_CASE("ASTRA-sim: the older JSON with links, routers and NICs") {
  std::string const text = R"({"topology-name": "Hierarchical", "topologies-per-dim": ["FullyConnected", "Switch"],
    "dimension-type": ["N", "P"], "dimensions-count": 2, "units-count": [4, 16], "links-count": [6, 2],
    "link-latency": [100, 500], "link-bandwidth": [25, 12.5], "nic-latency": [0, 50], "router-latency": [0, 200],
    "hbm-latency": [500, 500], "hbm-bandwidth": [370, 370], "hbm-scale": [0, 0]})";
  ClusterSpec const spec = cluster_spec_from_text(text, "net");
  CHECK(spec.num_ranks() == 64);
  CHECK(spec.intra_node.gpu_gb_per_s == doctest::Approx(150 * kGb));  // six links, two to each neighbour
  CHECK(spec.intra_node.peer_gb_per_s == doctest::Approx(50 * kGb));
  CHECK(spec.network.nic_gb_per_s == doctest::Approx(25 * kGb));
  CHECK(spec.network.latency_us == doctest::Approx(1.3));  // two links, router, two NICs
  using enum ErrorCode;
  check_refused(text, "\"Hierarchical\"", "\"Torus\"", parse, "$.topology-name");
  check_refused(text, "\"dimensions-count\": 2", "\"dimensions-count\": 3", parse, "$.dimensions-count");
  check_refused(text, "[6, 2]", "[6]", parse, "$.links-count");
  check_refused(text, "\"router-latency\": [0, 200]", "\"router-latency\": [0, -1]", parse, "$.router-latency[1]");
  check_refused(text, "\"hbm-scale\"", "\"hbm-size\"", parse, "hbm-size");
}

TEST_CASE("ASTRA-sim: refusals name line or key") {
  using enum ErrorCode;
  check_refused(kYaml, "[ Switch, Ring ]", "[ Switch, Torus ]", parse, "net: line 2: topology \"Torus\" is unknown");
  check_refused(kYaml, "[ 8, 2 ]", "[ 8, 2.5 ]", parse, "net: line 3: npus_count 2.5");
  check_refused(kYaml, "[ 8, 2 ]", "[ 8 ]", parse, "net: line 3: npus_count has 1 values, topology on line 2 has 2");
  check_refused(kYaml, "[400, 50 ]", "[400, fast ]", parse, "net: line 5: \"fast\" is no number");
  check_refused(kYaml, "[400, 50 ]", "[400, 5e400 ]", parse, "net: line 5");
  check_refused(kYaml, "[400, 50 ]", "400", parse, "net: line 5: found \"400\"");
  check_refused(kYaml, "[400, 50 ]", "[400,, 50 ]", parse, "net: line 5");
  check_refused(kYaml, "latency:", "bandwidth:", parse, "net: line 6: key \"bandwidth\" was on line 5 already");
  check_refused(kYaml, "latency:", "delay:", parse, "net: line 6: key \"delay\" is unknown");
  check_refused(kYaml, "latency: [ 900, 1000.0 ]", "", parse, "there is no key \"latency\"");
  check_refused(kYaml, "latency: [ 900, 1000.0 ]", "latency", parse, "net: line 6");
  check_refused(kYaml, "[ 8, 2 ]", "[ 8, 4 ]", unsupported, "net: line 3: in a ring of 4 NPUs");
  check_refused("topology: [Switch, FullyConnected]\nnpus_count: [8, 4]\nbandwidth: [1, 1]\nlatency: [1, 1]\n", "", "",
                unsupported, "net: line 2: 4 nodes joined pair by pair");
  check_refused(kYaml, "[ 8, 2 ]", "[ 1, 1 ]", unsupported, "one NPU alone");
  check_refused(kYaml, "[400, 50 ]", "[400, 0 ]", invalid_argument, "network.nic_gb_per_s is 0");
  check_refused(kYaml, "[ 900, 1000.0 ]", "[ -900, 1000.0 ]", invalid_argument, "intra_node.latency_us");
  check_refused("topology: [Switch, Switch, Switch]\nnpus_count: [2, 2, 2]\nbandwidth: [1, 1, 1]\nlatency: [1, 1, 1]\n",
                "", "", unsupported, "net: line 2: 3 dimensions");
  check_refused("{\"logical-dims\": [\"8\", \"4\"]}", "", "", parse, "$.logical-dims");
}
