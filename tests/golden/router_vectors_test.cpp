// SPDX-License-Identifier: Apache-2.0
// The router cases recorded from Megatron-Core and MegaBlocks (router_dev.json): 90 routings, 12 batched losses.
// Selections, counts, capacities and kept choices exactly, floats within 1e-5 relative.
#include <doctest/doctest.h>

#include "support/golden_file.hpp"
#include "vectors/router.hpp"

TEST_CASE("Megatron-Core's router: selection, weights, drops, losses, Sinkhorn") {
  MESSAGE(support::run_golden_cases("router_dev.json", "cases", switchyard::vectors::run_router_case) << " cases");
}

TEST_CASE("MegaBlocks' batched load-balancing loss") {
  MESSAGE(support::run_golden_cases("router_dev.json", "megablocks_batched_loss", switchyard::vectors::run_router_case)
          << " cases");
}
