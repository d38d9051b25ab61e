// SPDX-License-Identifier: Apache-2.0
/// The all-to-alls of `switchyard bench` on emulated ranks: threads of this process.
#pragma once

#include "bench/bench_table.hpp"

namespace switchyard::cli {

struct AllToAllBench {
  int ranks = 2;
  std::int64_t least_bytes = 0;  ///< of a sending rank; sizes double from here
  std::int64_t most_bytes = 0;
  int samples = 30;
};

/// Every pattern at every size, three unmeasured exchanges before the samples; after each sample a copy of all ranks'
/// bytes, which is the floor. @throws Error as the communicator, std::bad_alloc
[[nodiscard]] BenchTable bench_alltoallv_cpu(AllToAllBench const& bench);

}  // namespace switchyard::cli
