// SPDX-License-Identifier: Apache-2.0
/// TaggedWeights: one rank's weights for rehearsals and tests: tagged rows in strided, poisoned memory. Not installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "switchyard/cpu/rehearsal.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/rebalance/registered_weights.hpp"

namespace switchyard::cpu {

/// Rows of [layer][tensor][slot], each followed by a few bytes of padding. A row holds the tags of its expert in
/// `placement`; empty rows and padding hold a poison byte.
class TaggedWeights {
 public:
  /// @throws Error{invalid_argument} for no tensors or row sizes below 1.
  TaggedWeights(ExpertPlacement const& placement, RankId rank, std::vector<std::int64_t> const& tensor_row_bytes);

  TaggedWeights(TaggedWeights const&) = delete;  // weights() points into memory_, which a move keeps in place
  TaggedWeights& operator=(TaggedWeights const&) = delete;
  TaggedWeights(TaggedWeights&&) = default;
  TaggedWeights& operator=(TaggedWeights&&) = default;

  [[nodiscard]] RegisteredWeights const& weights() const noexcept { return weights_; }

  /// How many rows and bytes a check looked at.
  struct Checked {
    std::int64_t rows = 0;
    std::int64_t bytes = 0;
    std::int64_t untouched_rows = 0;
  };
  /// Compares every row with the tags of `target`; rows that are empty there, and all padding, must be as they were
  /// made. @return the first mismatch. @param checked receives the counts.
  [[nodiscard]] std::optional<RehearsalMismatch> first_mismatch(ExpertPlacement const& target, Checked& checked) const;

 private:
  [[nodiscard]] std::optional<RehearsalMismatch> check_row(int layer, int tensor, LocalExpertId row, ExpertId expert,
                                                           Checked& checked) const;
  [[nodiscard]] std::optional<std::int64_t> first_changed(int layer, int tensor, LocalExpertId row,
                                                          std::int64_t begin) const;
  [[nodiscard]] std::int64_t place_of(int layer, int tensor, LocalExpertId row) const;
  [[nodiscard]] RehearsalMismatch describe(int layer, int tensor, LocalExpertId row, ExpertId expert,
                                           std::int64_t offset, int expected) const;

  RankId rank_;
  int num_rows_;
  std::vector<std::int64_t> row_bytes_;
  std::vector<std::byte> memory_;
  std::vector<std::byte> original_;  // what memory_ held when it was made
  RegisteredWeights weights_;
};

}  // namespace switchyard::cpu
