// SPDX-License-Identifier: Apache-2.0
// DeepSeek's rebalance_experts, run by its own code on PyTorch and recorded: placement, replica counts and the slots of
// every replica in order of creation must be equal.
#include <doctest/doctest.h>

#include "support/golden_file.hpp"
#include "vectors/eplb.hpp"

using support::run_golden_cases;

TEST_CASE("every recorded placement of DeepSeek's policy is reproduced") {
  auto const count = run_golden_cases("eplb_policy_dev.json", "cases", switchyard::vectors::run_eplb_policy_case);
  MESSAGE("eplb_policy cases: " << count);
}
