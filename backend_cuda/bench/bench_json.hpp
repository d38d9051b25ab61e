// SPDX-License-Identifier: Apache-2.0
/// Raw samples of a benchmark as one JSON object per line, with the median that tables show.
#pragma once

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace gpu_bench {

inline double median(std::vector<double> samples) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  std::size_t const middle = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
}

class Results {
 public:
  explicit Results(std::string const& path) : file_(path) {}
  [[nodiscard]] bool is_open() const { return file_.good(); }

  void add_text(std::string const& name, std::string const& text) {
    file_ << "{\"" << name << "\": \"" << text << "\"}\n";
    std::printf("%s: %s\n", name.c_str(), text.c_str());
  }

  /// @param fields numbers that describe the case. @param bytes moved, for the bandwidth. @param floor_gbs 0: none
  void add(std::string const& name, std::vector<std::pair<std::string, double>> const& fields, double bytes,
           double floor_gbs, std::vector<double> const& samples_us) {
    double const time_us = median(samples_us);
    double const gbs = bytes / time_us * 1e-3;
    double const ratio = floor_gbs > 0 ? gbs / floor_gbs : 0;
    file_ << "{\"name\": \"" << name << "\"";
    for (auto const& field : fields) file_ << ", \"" << field.first << "\": " << field.second;
    file_ << ", \"bytes\": " << static_cast<long long>(bytes) << ", \"median_us\": " << time_us << ", \"gbs\": " << gbs
          << ", \"of_floor\": " << ratio << ", \"samples_us\": [";
    for (std::size_t i = 0; i < samples_us.size(); ++i) file_ << (i == 0 ? "" : ", ") << samples_us[i];
    file_ << "]}\n" << std::flush;
    std::printf("%-52s %10.1f us %9.1f GB/s", name.c_str(), time_us, gbs);
    if (floor_gbs > 0) std::printf(" %6.3f of the floor (%.1f GB/s)", ratio, floor_gbs);
    std::printf("\n");
    std::fflush(stdout);
  }

 private:
  std::ofstream file_;
};

}  // namespace gpu_bench
