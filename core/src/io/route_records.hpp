// SPDX-License-Identifier: Apache-2.0
/// Routing recordings: one JSON object per line, one routed token of one layer each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "json_lines.hpp"
#include "switchyard/internal/json_value.hpp"

namespace switchyard::io {

struct RouteRecord {
  std::int64_t layer = 0;
  std::vector<std::int64_t> ids;  ///< [top_k], -1 = no expert in this slot
  std::vector<double> weights;    ///< [top_k], or empty when the recording has none
};

/// Walks the records of a text in order and leaves out what is no routing of a real token.
class RouteRecords {
 public:
  /// @param num_experts ids must be below it; 0 = below the count that a meta record states, if any.
  RouteRecords(std::string_view content, std::string const& source_name, int num_experts);

  /// Fills `record` with the next one. @return false at the end. @throws Error{parse} for a malformed line.
  bool next(RouteRecord& record);

  /// The count asked for, else the one stated by a meta record so far, else 0.
  [[nodiscard]] std::int64_t num_experts() const { return num_experts_; }
  /// One past the largest expert id in any routing record so far, those of a profiling pass among them.
  [[nodiscard]] std::int64_t named_experts() const { return named_experts_; }
  [[nodiscard]] std::int64_t dropped_profiling() const { return dropped_profiling_; }
  [[nodiscard]] std::int64_t dropped_other() const { return dropped_other_; }

 private:
  /// @return whether the line was a routing record.
  bool parse_line(JsonValue const& value, RouteRecord& record);
  void read_meta(JsonValue const& value);
  [[nodiscard]] static bool is_profiling(RouteRecord const& record);

  JsonLines lines_;
  std::int64_t num_experts_;
  std::int64_t named_experts_ = 0;
  std::size_t top_k_ = 0;
  bool leading_ = true;  // no record of a real token yet
  std::int64_t dropped_profiling_ = 0;
  std::int64_t dropped_other_ = 0;
};

}  // namespace switchyard::io
