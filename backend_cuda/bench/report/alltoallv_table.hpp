// SPDX-License-Identifier: Apache-2.0
/// AllToAllTable: all-to-alls of several patterns and sizes with all raw samples, as JSON or CSV, whoever measured
/// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench_record.hpp"

namespace switchyard::bench {

/// Which cases to measure.
struct AllToAllBench {
  int ranks = 2;
  std::int64_t least_bytes = 0;  ///< of a sending rank; sizes double from here
  std::int64_t most_bytes = 0;
  int samples = 30;
};

/// A pattern at a size. A sample is the largest time of any rank.
struct AllToAllCase {
  std::string pattern{};
  std::int64_t total_bytes = 0;      ///< what a sending rank sends
  std::int64_t largest_bytes = 0;    ///< most that one rank sends or receives: what algbw counts
  double bus_factor = 1;             ///< busbw = algbw * this: the share that goes to other ranks
  std::vector<double> samples_us{};  ///< raw, in order
  std::vector<double> floor_us{};    ///< raw: copies of the same bytes, one after each sample; or none
};

struct AllToAllTable {
  std::string machine{};
  std::string provenance{};
  int ranks = 0;
  std::vector<AllToAllCase> cases{};
  std::string issue{};  ///< host or graph; empty: not said
};

/// @return every pattern at every size, without samples.
[[nodiscard]] std::vector<AllToAllCase> alltoallv_cases(AllToAllBench const& bench);
/// @return the case as a line of a table: its name is "pattern total_bytes".
[[nodiscard]] BenchRecord record_of(AllToAllCase const& one);
/// Schema switchyard.alltoallv_samples/1 (docs/formats/bench.md), read by `switchyard calibrate`.
[[nodiscard]] std::string to_json(AllToAllTable const& table);
/// A line per sample: pattern,total_bytes,sample,time_us,floor_us.
[[nodiscard]] std::string to_csv(AllToAllTable const& table);

}  // namespace switchyard::bench
