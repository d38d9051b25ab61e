// SPDX-License-Identifier: Apache-2.0
/// Parts of switchyard_cuda_allocations with sources of their own: the exact engine, and moves of expert rows.
#pragma once

#include "pair_report.hpp"

namespace cross_backend {

void check_expert_allocations(PairReport& report);
void check_rebalance_allocations(PairReport& report);

}  // namespace cross_backend
