// SPDX-License-Identifier: Apache-2.0
#include "bench/bench_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "alltoallv_patterns.hpp"
#include "cli/table.hpp"

namespace switchyard::cli {
namespace {

/// 10^9 bytes a second; 0 where nothing moves or no time passed.
double gigabytes_per_second(std::int64_t bytes, double time_us) {
  return time_us > 0 ? static_cast<double>(bytes) / time_us * 1e-3 : 0;
}

}  // namespace

double median_of(std::vector<double> samples) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  std::size_t const middle = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
}

std::string to_table(BenchTable const& table) {
  TextTable text({"pattern", "size", "time (us)", "algbw (GB/s)", "busbw (GB/s)", "floor (us)", "ratio"});
  for (BenchCase const& one : table.cases) {
    double const time = median_of(one.samples_us);
    double const floor = median_of(one.floor_us);
    double const algbw = gigabytes_per_second(one.largest_bytes, time);
    text.add_row({one.pattern, grouped(one.total_bytes), fmt::format("{:.1f}", time), fmt::format("{:.2f}", algbw),
                  fmt::format("{:.2f}", algbw * one.bus_factor), fmt::format("{:.1f}", floor),
                  fmt::format("{:.3f}", time > 0 ? floor / time : 0)});
  }
  return fmt::format("# {}; {} ranks; {}\n", table.machine, table.ranks, table.provenance) + text.str();
}

std::string to_json(BenchTable const& table) {
  nlohmann::ordered_json json = {{"schema", "switchyard.alltoallv_samples/1"},
                                 {"machine", table.machine},
                                 {"provenance", table.provenance},
                                 {"patterns", nlohmann::ordered_json::object()},
                                 {"ranks", table.ranks},
                                 {"cases", nlohmann::ordered_json::array()}};
  for (auto const& [name, meaning] : gpu_bench::kPatterns) json["patterns"][name] = meaning;
  for (BenchCase const& one : table.cases)
    json["cases"].push_back(
        {{"pattern", one.pattern}, {"total_bytes", one.total_bytes}, {"samples_us", one.samples_us}});
  return json.dump() + "\n";
}

std::string to_csv(BenchTable const& table) {
  std::string text = "pattern,total_bytes,sample,time_us,floor_us\n";
  for (BenchCase const& one : table.cases)
    for (std::size_t i = 0; i < one.samples_us.size(); ++i)
      text += fmt::format("{},{},{},{:.3f},{:.3f}\n", one.pattern, one.total_bytes, i, one.samples_us[i],
                          one.floor_us.at(i));
  return text;
}

}  // namespace switchyard::cli
