// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/experts.hpp"

#include <limits>

#include "switchyard/experts/expert_gradient.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

std::string_view to_string(RowFormat format) noexcept {
  return format == RowFormat::standard ? "standard" : "batched";
}

std::vector<RowBlock> standard_blocks(std::span<std::int64_t const> rows_per_expert) {
  std::vector<RowBlock> blocks;
  blocks.reserve(rows_per_expert.size());
  std::int64_t first = 0;
  for (std::int64_t const rows : rows_per_expert) {
    SWITCHYARD_REQUIRE(rows >= 0 && rows <= std::numeric_limits<std::int64_t>::max() - first, invalid_argument,
                       "local expert {} has {} rows after {} rows of the experts before it", blocks.size(), rows,
                       first);
    blocks.push_back({first, rows});
    first += rows;
  }
  return blocks;
}

std::vector<RowBlock> batched_blocks(std::span<std::int64_t const> rows_per_expert, std::int64_t max_rows) {
  auto const experts = static_cast<std::int64_t>(rows_per_expert.size());
  SWITCHYARD_REQUIRE(max_rows >= 0 && (experts == 0 || max_rows <= std::numeric_limits<std::int64_t>::max() / experts),
                     invalid_argument, "batched rows of {} local experts x {} rows", experts, max_rows);
  std::vector<RowBlock> blocks;
  blocks.reserve(rows_per_expert.size());
  for (std::int64_t expert = 0; expert < experts; ++expert) {
    std::int64_t const rows = rows_per_expert[to_size(expert)];
    SWITCHYARD_REQUIRE(rows >= 0 && rows <= max_rows, invalid_argument,
                       "local expert {} has {} rows where its batch holds {}: raise the maximum or drop tokens", expert,
                       rows, max_rows);
    blocks.push_back({expert * max_rows, rows});
  }
  return blocks;
}

ExpertBackward const* expert_backward(Experts const& experts) noexcept {
  return dynamic_cast<ExpertBackward const*>(&experts);
}

}  // namespace switchyard
