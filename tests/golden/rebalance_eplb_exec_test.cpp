// SPDX-License-Identifier: Apache-2.0
// vLLM's rebalance_execute, run by its authors' own code and recorded: our plans must list the same messages in the
// same order, give the same masks and leave the same bytes in every row; requests that it silently corrupts must be
// refused.
#include <doctest/doctest.h>

#include "support/golden_file.hpp"
#include "vectors/eplb.hpp"

using support::run_golden_cases;

TEST_CASE("every recorded move of vLLM is planned identically") {
  auto const count = run_golden_cases("eplb_exec_dev.json", "cases", [](auto const& vector) {
    return switchyard::vectors::run_eplb_moved_case(vector, switchyard::tools::cpu_dispatch_backend());
  });
  MESSAGE("eplb_exec cases: " << count);
}

TEST_CASE("every invalid request is refused with its recorded reasons") {
  auto const count = run_golden_cases("eplb_exec_dev.json", "invalid_cases", switchyard::vectors::run_eplb_exec_case);
  MESSAGE("eplb_exec invalid cases: " << count);
}
