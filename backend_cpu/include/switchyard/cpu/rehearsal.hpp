// SPDX-License-Identifier: Apache-2.0
/// rehearse(): carries a plan or schedule file out on emulated ranks with small tagged weights, and checks every byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/cpu/rebalance_executor.hpp"

namespace switchyard::cpu {

enum class SchedulerKind { threads, cooperative };

struct RehearsalOptions {
  std::vector<std::int64_t> tensor_row_bytes{64, 24};  ///< one entry per tensor of an expert
  RebalanceMode mode = RebalanceMode::buffered;
  SchedulerKind scheduler = SchedulerKind::cooperative;
  std::uint64_t seed = 0;  ///< of the cooperative order
  bool verify_rows = true;
};

/// A byte of a target row that is not what the target placement says, or a byte that had no business changing.
struct RehearsalMismatch {
  int layer;
  RankId rank;
  LocalExpertId row;
  ExpertId expert;  ///< the target's expert, -1 for a row that is empty in the target or for padding after it
  int tensor;
  std::int64_t byte_offset;  ///< from the row's first byte; padding follows the row
  int expected;
  int got;
  std::string text;  ///< one sentence with all of the above
};

struct RehearsalReport {
  std::optional<RehearsalMismatch> first_mismatch{};  ///< by rank, layer, row, tensor, offset
  int num_ranks = 0;
  std::int64_t rows_checked = 0;    ///< rows of the target placement, times tensors
  std::int64_t bytes_checked = 0;   ///< of those rows
  std::int64_t rows_untouched = 0;  ///< rows that are empty in the target (times tensors), checked to be unwritten
  std::int64_t bytes_sent = 0;      ///< over all ranks
  std::int64_t bytes_received = 0;
  std::int64_t bytes_copied = 0;
  std::int64_t peak_staging_bytes = 0;  ///< of the rank that needed most

  [[nodiscard]] bool passed() const noexcept { return !first_mismatch.has_value(); }
};

/// Runs the plan or schedule in `plan_json` on as many emulated ranks as it names. Every rank parses its own copy of
/// the text, allocates its own weights (strided, padding in between), fills them with tags of the OLD placement and
/// reaches the others through its communicator only. Afterwards every row is compared with the tags of the TARGET
/// placement: the plan's lists play no part in what is expected. Plans of a scale-up or scale-down run in the slot
/// space of the whole group. Dead ranks of a schedule take part without moving anything; slots to be reloaded must be
/// untouched.
///
/// @param source_name the file's name for messages.
/// @throws Error{parse} for a malformed text; Error{invalid_plan} for a plan whose fingerprint or proofs fail (nothing
///         is executed); Error{invalid_argument} for no tensors, row sizes below 1, or a schedule with few spare rows
///         in RebalanceMode::buffered.
/// @note 58 layers x 288 slots on 32 ranks: well under 10 s, mostly parsing and proving the plan 32 times.
[[nodiscard]] RehearsalReport rehearse(std::string_view plan_json, std::string const& source_name,
                                       RehearsalOptions const& options = {});

}  // namespace switchyard::cpu
