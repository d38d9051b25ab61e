// SPDX-License-Identifier: Apache-2.0
/// How many rows the buffers of a dispatch hold on the busiest rank: expected, at worst, and of a given routing.
#pragma once

#include "switchyard/experts/memory_plan.hpp"

namespace switchyard {

/// Everything that row counts depend on.
struct RowSetting {
  std::int64_t tokens = 0;  ///< per rank
  std::int64_t ep = 1;
  std::int64_t tp = 1;
  std::int64_t top_k = 0;
  std::int64_t slots = 0;           ///< of the group
  std::int64_t slots_per_rank = 0;  ///< of the ranks that hold most
  std::optional<RoutedRows> routed{};

  [[nodiscard]] std::int64_t world() const noexcept { return ep * tp; }
};

/// The same number whatever tokens choose.
[[nodiscard]] MemoryAmount fixed_rows(RowSetting const& setting, std::int64_t rows);
/// Choices of a rank's own tokens: T K.
[[nodiscard]] MemoryAmount chosen_rows(RowSetting const& setting);
/// Choices for a rank's experts of the tokens of one TP lane: EP T min(K, L) at worst.
[[nodiscard]] MemoryAmount received_rows(RowSetting const& setting);
/// The same of all ranks: EP TP T min(K, L) at worst.
[[nodiscard]] MemoryAmount expert_rows(RowSetting const& setting);
/// One row per token and destination rank: T TP min(K, EP) at worst.
[[nodiscard]] MemoryAmount sent_tokens(RowSetting const& setting);
/// Tokens of all ranks with a choice here: EP TP T at worst.
[[nodiscard]] MemoryAmount received_tokens(RowSetting const& setting);
/// Rows of the busiest expert: EP TP T at worst.
[[nodiscard]] MemoryAmount rows_of_expert(RowSetting const& setting);

}  // namespace switchyard
