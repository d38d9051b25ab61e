// SPDX-License-Identifier: Apache-2.0
/// The rules of one RowGather of a plan, by what it is for.
#pragma once

#include <cstdint>
#include <span>

#include "stage_roles.hpp"
#include "violation_report.hpp"

namespace switchyard {

/// A RowGather at its place.
struct GatherPlace {
  StageRole role;
  std::int64_t inputs;                      ///< rows the stage before hands on
  std::span<std::int64_t const> by_source;  ///< how many of them came from every rank; empty where they are tokens
};

/// Notes every rule of `gather` that is broken. Safe on any values; plan.setup and its counts must have been checked.
/// O(rows + inputs).
void check_gather(DispatchPlan const& plan, RowGather const& gather, GatherPlace const& place, ViolationReport& report);

/// Notes the first of `values` outside [least, limit). @return whether there is none.
bool check_range(DispatchPlan const& plan, char const* name, std::span<std::int64_t const> values, std::int64_t least,
                 std::int64_t limit, ViolationReport& report);

}  // namespace switchyard
