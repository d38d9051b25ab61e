// SPDX-License-Identifier: Apache-2.0
/// The all-to-alls of `switchyard bench` on emulated ranks: threads of this process.
#pragma once

#include "alltoallv_table.hpp"

namespace switchyard::cli {

/// Every pattern at every size, three unmeasured exchanges before the samples; after each sample a copy of all ranks'
/// bytes, which is the floor. @throws Error as the communicator, std::bad_alloc
[[nodiscard]] bench::AllToAllTable bench_alltoallv_cpu(bench::AllToAllBench const& bench);

}  // namespace switchyard::cli
