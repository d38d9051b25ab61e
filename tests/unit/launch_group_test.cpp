// SPDX-License-Identifier: Apache-2.0
// The first line of a group, and which NCCL serves which program.
//
// By hand: ranks 0 and 1 on node0 with the devices at 1B and 43, linked by NVLink, rank 2 on node1. Of three pairs one
// is NVLink and two are network. NCCL 2.28.9 is written 22809; code built with it works with 2.28.3, not with
// 2.29.2.
#include <doctest/doctest.h>

#include "group_line.hpp"
#include "support/error_text.hpp"
#include "versions.hpp"

using namespace switchyard;
using cuda::RankPlace;
using cuda::SystemReport;
using support::contains;

namespace {

SystemReport two_devices(bool direct, bool native_atomics) {
  SystemReport report;
  report.has_cuda = true;
  report.has_nccl = true;
  report.runtime_version = 13000;
  report.driver_version = 13010;
  report.nccl_built = 22809;
  report.nccl_loaded = 22902;
  report.devices.resize(2);
  report.devices[0].bus = "0000:1B:00.0";
  report.devices[1].bus = "0000:43:00.0";
  report.peers = {{0, 1, direct, native_atomics}, {1, 0, direct, native_atomics}};
  return report;
}

RankPlace const kFirst{"node0", "H100", "0000:1B:00.0"};
RankPlace const kSecond{"node0", "H100", "0000:43:00.0"};
RankPlace const kFar{"node1", "H100", "0000:1B:00.0"};

}  // namespace

TEST_CASE("one host") {
  CHECK(
      cuda::group_line(two_devices(true, true), {kFirst, kSecond}) ==
      "switchyard 0.1.0, CUDA 13.0, driver for CUDA 13.1, NCCL 2.29.2 (built with 2.28.9); ranks 0-1 on node0: H100 at "
      "0000:1B:00.0 0000:43:00.0; links: NVLink between all");
}

TEST_CASE("every kind of link") {
  auto const line = [](SystemReport const& report, std::vector<RankPlace> const& ranks) {
    auto const text = cuda::group_line(report, ranks);
    return text.substr(text.find("links: "));
  };
  CHECK(line(two_devices(true, true), {kFirst, kSecond, kFar}) ==
        "links: NVLink between 1 pairs, network between 2 pairs");
  CHECK(line(two_devices(true, false), {kFirst, kSecond}) == "links: PCIe peer access between all");
  CHECK(line(two_devices(false, false), {kFirst, kSecond}) == "links: host memory between all");
  CHECK(line(two_devices(true, true), {kFirst, kFirst}) == "links: one shared GPU between all");
  CHECK(contains(line({}, {kFirst, kSecond}), "links: unknown (one host"));
  CHECK(line({}, {kFirst}) == "links: none");
}

TEST_CASE("ranks are named with their host and device, and a build without NCCL says so") {
  RankPlace other = kSecond;
  other.device = "A100";
  auto const text = cuda::group_line({}, {kFirst, other, kFar});
  CHECK(contains(text,
                 "no NCCL; rank 0 on node0: H100 at 0000:1B:00.0; rank 1 on node0: A100 at 0000:43:00.0; rank 2 on "
                 "node1: H100"));
}

TEST_CASE("places travel as bytes of one size, long names cut") {
  for (std::string const& host : {std::string(), std::string("node0"), std::string(95, 'h'), std::string(300, 'h')}) {
    RankPlace const place{host, "NVIDIA H100 80GB HBM3", "0000:1B:00.0"};
    auto const bytes = cuda::bytes_of(place);
    REQUIRE(bytes.size() == cuda::kPlaceBytes);
    RankPlace expected = place;
    expected.host = host.substr(0, 95);
    CHECK(cuda::place_of(bytes.data()) == expected);
  }
}

TEST_CASE("a device without code is told its architecture and those of the build") {
  CHECK(cuda::missing_code_text("a DevicePlanner", "NVIDIA A100", 8, 0, "90") ==
        "a DevicePlanner: NVIDIA A100 has compute capability 8.0, and this build has code for 90 only: configure with "
        "CMAKE_CUDA_ARCHITECTURES=80, or use the CPU backend");
}

TEST_CASE("device code of NCCL 2.28 fits 2.28, later code fits later libraries") {
  CHECK(cuda::device_api_problem(22809, 22809).empty());
  CHECK(cuda::device_api_problem(22809, 22803).empty());
  CHECK(cuda::device_api_problem(22803, 22809).empty());
  CHECK(cuda::device_api_problem(22907, 22902).empty());
  CHECK(cuda::device_api_problem(22902, 22902).empty());
  CHECK(cuda::device_api_problem(22902, 23203).empty());
  CHECK(contains(cuda::device_api_problem(22809, 22902), "built with NCCL 2.28.9, but NCCL 2.29.2 is loaded"));
  for (auto const& [built, loaded] : {std::pair{22809, 22709}, {22902, 22809}, {23203, 23109}, {22902, 30000}})
    CHECK_FALSE(cuda::device_api_problem(built, loaded).empty());
}
