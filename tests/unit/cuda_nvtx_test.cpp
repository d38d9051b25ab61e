// SPDX-License-Identifier: Apache-2.0
// NvtxRange as a profiler sees it: this program is the profiler, by NVTX's static injection.
//
// By hand: an outer range "dispatch" around "exchange" gives +dispatch +exchange -exchange -dispatch.
#include <doctest/doctest.h>

#include "nvtx_range.hpp"
#include "support/nvtx_listener.hpp"

TEST_CASE("ranges of one domain nest and carry the stage's name") {
  REQUIRE(support::listen_to_ranges());
  {
    switchyard::cuda::NvtxRange const outer("dispatch");
    switchyard::cuda::NvtxRange const inner("exchange");
  }
  switchyard::cuda::NvtxRange const next("combine");
  CHECK(support::ranges_seen() == "[switchyard]+dispatch;+exchange;--+combine;");
}
