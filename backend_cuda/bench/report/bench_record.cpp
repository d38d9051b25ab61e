// SPDX-License-Identifier: Apache-2.0
#include "bench_record.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace switchyard::bench {
namespace {

/// A figure, or a dash where there is none.
std::string cell(double value, int digits) {
  return value > 0 ? fmt::format("{:.{}f}", value, digits) : "-";
}

/// Counts are integers in JSON.
nlohmann::ordered_json number(double value) {
  auto const whole = static_cast<std::int64_t>(value);
  return static_cast<double>(whole) == value ? nlohmann::ordered_json(whole) : nlohmann::ordered_json(value);
}

}  // namespace

double median_of(std::vector<double> samples) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  std::size_t const middle = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
}

double gigabytes_per_second(double bytes, double time_us) {
  return time_us > 0 ? bytes / time_us * 1e-3 : 0;
}

void merge_largest(std::vector<double>& into, std::vector<double> const& of_rank) {
  into.resize(of_rank.size(), 0);
  for (std::size_t i = 0; i < of_rank.size(); ++i) into[i] = std::max(into[i], of_rank[i]);
}

std::vector<double> rounded(std::vector<double> samples) {
  for (double& sample : samples) sample = std::round(sample * 1e4) / 1e4;
  return samples;
}

std::string line_heading() {
  return fmt::format("{:<68} {:>13} {:>10} {:>12} {:>12} {:>10} {:>6}\n", "# case", "size (B)", "time (us)",
                     "algbw (GB/s)", "busbw (GB/s)", "floor (us)", "ratio");
}

std::string to_line(BenchRecord const& record) {
  double const time = median_of(record.samples_us);
  double const algbw = gigabytes_per_second(record.bytes, time);
  return fmt::format("{:<68} {:>13} {:>10} {:>12} {:>12} {:>10} {:>6}\n", record.name, cell(record.bytes, 0),
                     cell(time, 1), cell(algbw, 1), cell(algbw * record.bus_factor, 1), cell(record.floor_us, 1),
                     cell(time > 0 ? record.floor_us / time : 0, 3));
}

std::string to_json_line(BenchRecord const& record) {
  double const time = median_of(record.samples_us);
  double const algbw = gigabytes_per_second(record.bytes, time);
  nlohmann::ordered_json json = {{"name", record.name}};
  for (auto const& [name, value] : record.fields) json[name] = number(value);
  json["bytes"] = static_cast<std::int64_t>(record.bytes);
  json["median_us"] = time;
  json["gbs"] = algbw;
  if (record.bus_factor > 0) json["busbw_gbs"] = algbw * record.bus_factor;
  json["of_floor"] = time > 0 ? record.floor_us / time : 0;
  json["samples_us"] = rounded(record.samples_us);
  return json.dump() + "\n";
}

std::string to_json_line(std::string const& name, std::string const& text) {
  nlohmann::ordered_json json;
  json[name] = text;
  return json.dump() + "\n";
}

std::string to_csv(std::vector<BenchRecord> const& records) {
  std::string text = "name,bytes,sample,time_us,floor_us\n";
  for (BenchRecord const& one : records)
    for (std::size_t i = 0; i < one.samples_us.size(); ++i)
      text += fmt::format("\"{}\",{:.0f},{},{:.3f},{:.3f}\n", one.name, one.bytes, i, one.samples_us[i], one.floor_us);
  return text;
}

}  // namespace switchyard::bench
