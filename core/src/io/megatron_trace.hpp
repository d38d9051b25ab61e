// SPDX-License-Identifier: Apache-2.0
/// Megatron-Core's router trace: JSONL, one record per (step, block, layer) of one rank.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "json_lines.hpp"

namespace switchyard::io {

struct MegatronRecord {
  std::int64_t step = 0;
  std::int64_t layer = 0;
  std::size_t top_k = 0;
  std::vector<std::int64_t> ids{};  ///< [tokens][top_k], -1 = no expert in this slot
};

/// Walks the decoder's records. Those of other blocks ("mtp", whose layers are numbered on their own) are skipped and
/// counted.
class MegatronTrace {
 public:
  /// @param num_experts ids must be below it; 0 = below the limit of all formats.
  MegatronTrace(std::string_view content, std::string const& source_name, int num_experts)
      : lines_(content, source_name), num_experts_(num_experts) {}

  /// Fills `record` with the next one. @return false at the end. @throws Error{parse} for a malformed record.
  bool next(MegatronRecord& record);
  [[nodiscard]] std::int64_t dropped_other() const { return dropped_other_; }

 private:
  JsonLines lines_;
  int num_experts_;
  std::int64_t dropped_other_ = 0;
};

}  // namespace switchyard::io
