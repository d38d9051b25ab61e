// SPDX-License-Identifier: Apache-2.0
/// parallel_for: the one parallel loop of the CPU backend (oneTBB, or std::jthread workers under TSan).
#pragma once

#include <cstdint>
#include <functional>

namespace switchyard::cpu {

/// Calls body(begin, end) on disjoint ranges that cover [0, count); ranges hold at least `grain` items (but the last).
/// Outputs must be disjoint per item, so that the number of workers can never change a result. The first exception is
/// rethrown.
void parallel_for(std::int64_t count, std::int64_t grain, std::function<void(std::int64_t, std::int64_t)> const& body);

/// Sets how many workers parallel_for uses from now on (0 = all cores). Process-wide; for tools and tests.
void set_worker_count(int workers);
[[nodiscard]] int worker_count();

}  // namespace switchyard::cpu
