// SPDX-License-Identifier: Apache-2.0
/// BenchTable: measured cases with all raw samples, as a table in the manner of nccl-tests, JSON or CSV.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace switchyard::cli {

/// One line. A sample is the largest time of any rank.
struct BenchCase {
  std::string pattern{};
  std::int64_t total_bytes = 0;      ///< what a sending rank sends
  std::int64_t largest_bytes = 0;    ///< most that one rank sends or receives: what algbw counts
  double bus_factor = 1;             ///< busbw = algbw * this: the share that goes to other ranks
  std::vector<double> samples_us{};  ///< raw, in order
  std::vector<double> floor_us{};    ///< raw: copies of all ranks' bytes, one after each sample
};

struct BenchTable {
  std::string machine{};
  std::string provenance{};
  int ranks = 0;
  std::vector<BenchCase> cases{};
};

/// @return the middle value, or the mean of the two; 0 for none.
[[nodiscard]] double median_of(std::vector<double> samples);
/// algbw and busbw in GB/s (10^9 bytes); ratio: floor over time, 1 is as fast as copying.
[[nodiscard]] std::string to_table(BenchTable const& table);
/// Schema switchyard.alltoallv_samples/1 (docs/formats/bench.md), read by `switchyard calibrate`.
[[nodiscard]] std::string to_json(BenchTable const& table);
/// A line per sample: pattern,total_bytes,sample,time_us,floor_us.
[[nodiscard]] std::string to_csv(BenchTable const& table);

}  // namespace switchyard::cli
