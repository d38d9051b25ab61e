// SPDX-License-Identifier: Apache-2.0
/// Results: what a benchmark measures, case by case: printed and written as it comes, and kept.
#pragma once

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "bench_record.hpp"

namespace gpu_bench {

inline double median(std::vector<double> samples) {
  return switchyard::bench::median_of(std::move(samples));
}

/// Whether every case becomes a line on stdout.
enum class Echo { lines, none };

class Results {
 public:
  using Record = switchyard::bench::BenchRecord;

  /// @param path JSON lines go there as they come; empty: nowhere
  explicit Results(std::string const& path, Echo echo = Echo::lines);
  /// Whether everything could be written so far.
  [[nodiscard]] bool is_open() const { return file_.good(); }

  void add_text(std::string const& name, std::string const& text);
  /// A line for who reads along; no result.
  void note(std::string const& text) const;
  /// @param fields numbers that describe the case. @param bytes moved, for the bandwidth. @param floor_gbs 0: none
  void add(std::string const& name, std::vector<std::pair<std::string, double>> const& fields, double bytes,
           double floor_gbs, std::vector<double> const& samples_us);
  void add(Record record);

  [[nodiscard]] std::vector<Record> const& records() const { return records_; }
  /// Everything so far, as in the file.
  [[nodiscard]] std::string const& json_lines() const { return json_lines_; }

 private:
  void emit(std::string const& json, std::string const& line);

  std::ofstream file_{};
  Echo echo_;
  std::string json_lines_{};
  std::vector<Record> records_{};
};

}  // namespace gpu_bench
