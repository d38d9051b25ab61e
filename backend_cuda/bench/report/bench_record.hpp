// SPDX-License-Identifier: Apache-2.0
/// BenchRecord: one measured case with all its raw samples, as a line of a table in the manner of nccl-tests, JSON or
/// CSV.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace switchyard::bench {

/// A sample between ranks is the largest time of any rank.
struct BenchRecord {
  std::string name{};
  std::vector<std::pair<std::string, double>> fields{};  ///< numbers that describe the case
  double bytes = 0;                                      ///< what algbw counts; 0: no bandwidth
  double bus_factor = 0;             ///< busbw = algbw * this, the share that goes to other ranks; 0: one rank
  double floor_us = 0;               ///< copies of the same bytes in the same run, median; 0: none
  std::vector<double> samples_us{};  ///< raw, in order
};

/// @return the middle value, or the mean of the two; 0 for none.
[[nodiscard]] double median_of(std::vector<double> samples);
/// Makes every sample of `into` the larger of the two: what a group of ranks took. Missing ones count as 0.
void merge_largest(std::vector<double>& into, std::vector<double> const& of_rank);
/// @return samples of no more digits than an event has: tenths of a nanosecond.
[[nodiscard]] std::vector<double> rounded(std::vector<double> samples);
/// @return 10^9 bytes a second; 0 where nothing moves or no time passed.
[[nodiscard]] double gigabytes_per_second(double bytes, double time_us);

/// The columns of to_line(). Ends in a newline, as all texts here.
[[nodiscard]] std::string line_heading();
/// Median, algbw and busbw in GB/s, and floor over time: 1 is as fast as copying. A dash where there is none.
[[nodiscard]] std::string to_line(BenchRecord const& record);
/// One JSON object, as `switchyard calibrate` reads it (docs/formats/bench.md).
[[nodiscard]] std::string to_json_line(BenchRecord const& record);
/// {"name": "text"}: where the records after it were measured.
[[nodiscard]] std::string to_json_line(std::string const& name, std::string const& text);
/// A line per sample: name,bytes,sample,time_us,floor_us; heading included.
[[nodiscard]] std::string to_csv(std::vector<BenchRecord> const& records);

}  // namespace switchyard::bench
