// SPDX-License-Identifier: Apache-2.0
/// Whether the rows that ranks expand, sort and bin are the ones that their sources sent, row by row.
#pragma once

#include <span>

#include "violation_report.hpp"

namespace switchyard {

/// @param plans of all ranks, each valid alone and agreeing in their counts. O(rows of all ranks).
void check_contents(std::span<DispatchPlan const> plans, ViolationReport& report);

}  // namespace switchyard
