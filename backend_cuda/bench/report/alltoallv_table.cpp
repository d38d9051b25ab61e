// SPDX-License-Identifier: Apache-2.0
#include "alltoallv_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "switchyard/internal/alltoallv_patterns.hpp"

namespace switchyard::bench {
namespace {

/// algbw counts the busiest rank; busbw what it exchanges with others.
void describe(AllToAllCase& one, int ranks) {
  std::int64_t outside = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    std::int64_t sent = 0;
    std::int64_t received = 0;
    for (int other = 0; other < ranks; ++other) {
      sent += pattern_bytes(one.pattern, ranks, rank, other, one.total_bytes);
      received += pattern_bytes(one.pattern, ranks, other, rank, one.total_bytes);
    }
    std::int64_t const own = pattern_bytes(one.pattern, ranks, rank, rank, one.total_bytes);
    std::int64_t const most = std::max(sent, received);
    if (most > one.largest_bytes) outside = most - own;
    one.largest_bytes = std::max(one.largest_bytes, most);
  }
  if (one.largest_bytes > 0) one.bus_factor = static_cast<double>(outside) / static_cast<double>(one.largest_bytes);
}

bool has_pattern(AllToAllTable const& table, std::string const& name) {
  return std::any_of(table.cases.begin(), table.cases.end(),
                     [&](AllToAllCase const& one) { return one.pattern == name; });
}

}  // namespace

std::vector<AllToAllCase> alltoallv_cases(AllToAllBench const& bench) {
  std::vector<AllToAllCase> cases;
  for (std::int64_t total = bench.least_bytes; total <= bench.most_bytes; total *= 2)
    for (auto const& pattern : kAllToAllPatterns) {
      AllToAllCase one;
      one.pattern = pattern.first;
      one.total_bytes = total;
      describe(one, bench.ranks);
      cases.push_back(std::move(one));
    }
  return cases;
}

BenchRecord record_of(AllToAllCase const& one) {
  return {fmt::format("{} {}", one.pattern, one.total_bytes),
          {},
          static_cast<double>(one.largest_bytes),
          one.bus_factor,
          median_of(one.floor_us),
          one.samples_us};
}

std::string to_json(AllToAllTable const& table) {
  nlohmann::ordered_json json = {{"schema", "switchyard.alltoallv_samples/1"},
                                 {"machine", table.machine},
                                 {"provenance", table.provenance},
                                 {"patterns", nlohmann::ordered_json::object()},
                                 {"ranks", table.ranks},
                                 {"cases", nlohmann::ordered_json::array()}};
  if (!table.issue.empty()) json["issue"] = table.issue;
  for (auto const& [name, meaning] : kAllToAllPatterns) json["patterns"][name] = meaning;
  for (auto const& [name, meaning] : kUniformParts)
    if (has_pattern(table, name)) json["patterns"][name] = meaning;
  for (AllToAllCase const& one : table.cases) {
    json["cases"].push_back(
        {{"pattern", one.pattern}, {"total_bytes", one.total_bytes}, {"samples_us", rounded(one.samples_us)}});
    if (!one.floor_us.empty()) json["cases"].back()["floor_us"] = rounded(one.floor_us);
  }
  return json.dump() + "\n";
}

std::string to_csv(AllToAllTable const& table) {
  std::string text = "pattern,total_bytes,sample,time_us,floor_us\n";
  for (AllToAllCase const& one : table.cases)
    for (std::size_t i = 0; i < one.samples_us.size(); ++i)
      text += fmt::format("{},{},{},{:.3f},{:.3f}\n", one.pattern, one.total_bytes, i, one.samples_us[i],
                          one.floor_us.at(i));
  return text;
}

}  // namespace switchyard::bench
