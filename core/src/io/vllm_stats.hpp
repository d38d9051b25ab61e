// SPDX-License-Identifier: Apache-2.0
/// vLLM's statistics: JSONL records "eplb_load_stats" of physical loads and the map they were counted under.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "json_lines.hpp"

namespace switchyard::io {

struct VllmStatsRecord {
  std::size_t layers = 0;
  std::size_t slots = 0;
  int num_ranks = 0;
  std::vector<double> counts{};     ///< [layers][slots]
  std::vector<std::int64_t> map{};  ///< [layers][slots], -1 = empty
};

/// Walks the statistics of a text; records of other types are skipped and counted.
class VllmStats {
 public:
  VllmStats(std::string_view content, std::string const& source_name) : lines_(content, source_name) {}

  /// Fills `record` with the next one. @return false at the end. @throws Error{parse} for a malformed record.
  bool next(VllmStatsRecord& record);
  [[nodiscard]] std::int64_t dropped_other() const { return dropped_other_; }

 private:
  JsonLines lines_;
  std::int64_t dropped_other_ = 0;
};

/// @return whether `line` is a record of type `type`, version 1. @throws Error{parse} for another version of it.
[[nodiscard]] bool is_vllm_record(JsonValue const& line, std::string_view type);

}  // namespace switchyard::io
