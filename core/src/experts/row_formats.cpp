// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/row_formats.hpp"

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

/// The local expert of every pair, or -1.
std::vector<std::int64_t> local_experts_of(std::span<std::int64_t const> ids, int top_k,
                                           std::span<std::int32_t const> expert_map, int num_local_experts) {
  std::int64_t const known = expert_map.empty() ? num_local_experts : static_cast<std::int64_t>(expert_map.size());
  std::vector<std::int64_t> experts(ids.size());
  for (std::size_t flat = 0; flat < ids.size(); ++flat) {
    std::int64_t const id = ids[flat];
    auto const columns = to_size(top_k);
    SWITCHYARD_REQUIRE(id >= -1 && id < known, invalid_argument,
                       "token {}, slot {} chose expert {} of {}: -1 is the only id without an expert", flat / columns,
                       flat % columns, id, known);
    experts[flat] = id < 0 || expert_map.empty() ? id : expert_map[to_size(id)];
    SWITCHYARD_REQUIRE(experts[flat] >= -1 && experts[flat] < num_local_experts, invalid_argument,
                       "expert_map[{}] is {}, this rank has {} local experts", id, experts[flat], num_local_experts);
  }
  return experts;
}

/// flat_of_row from row_of_flat, for `rows` rows.
std::vector<std::int64_t> inverse(std::span<std::int64_t const> row_of_flat, std::int64_t rows) {
  std::vector<std::int64_t> flat_of_row(to_size(rows), -1);
  for (std::size_t flat = 0; flat < row_of_flat.size(); ++flat)
    if (row_of_flat[flat] >= 0) flat_of_row[to_size(row_of_flat[flat])] = static_cast<std::int64_t>(flat);
  return flat_of_row;
}

/// Moves every block of `grouping` to where `target` says.
RowGrouping with_blocks(RowGrouping grouping, std::vector<RowBlock> const& target, std::int64_t rows) {
  std::vector<RowBlock> const source = grouping.blocks();
  for (std::size_t expert = 0; expert < source.size(); ++expert)
    for (std::int64_t i = 0; i < source[expert].rows; ++i) {
      std::int64_t const flat = grouping.flat_of_row[to_size(source[expert].first_row + i)];
      grouping.row_of_flat[to_size(flat)] = target[expert].first_row + i;
    }
  grouping.flat_of_row = inverse(grouping.row_of_flat, rows);
  return grouping;
}

}  // namespace

std::vector<RowBlock> RowGrouping::blocks() const {
  return format == RowFormat::standard ? standard_blocks(rows_per_expert) : batched_blocks(rows_per_expert, max_rows);
}

std::vector<std::int64_t> RowGrouping::token_of_row() const {
  std::vector<std::int64_t> tokens;
  tokens.reserve(flat_of_row.size());
  for (std::int64_t const flat : flat_of_row) tokens.push_back(flat < 0 ? -1 : flat / top_k);
  return tokens;
}

RowGrouping group_rows(std::span<std::int64_t const> ids, int top_k, std::span<std::int32_t const> expert_map,
                       int num_local_experts) {
  SWITCHYARD_REQUIRE(top_k >= 1 && num_local_experts >= 0, invalid_argument, "top_k {} and {} local experts", top_k,
                     num_local_experts);
  SWITCHYARD_REQUIRE(ids.size() % to_size(top_k) == 0, shape_mismatch, "{} expert ids are no rows of {}", ids.size(),
                     top_k);
  std::vector<std::int64_t> const experts = local_experts_of(ids, top_k, expert_map, num_local_experts);
  RowGrouping grouping;
  grouping.num_tokens = static_cast<std::int64_t>(ids.size()) / top_k;
  grouping.top_k = top_k;
  grouping.rows_per_expert.assign(to_size(num_local_experts), 0);
  for (std::int64_t const expert : experts)
    if (expert >= 0) ++grouping.rows_per_expert[to_size(expert)];
  std::vector<std::int64_t> next;
  std::int64_t rows = 0;
  for (RowBlock const& block : standard_blocks(grouping.rows_per_expert)) {
    next.push_back(block.first_row);
    rows += block.rows;
  }
  grouping.row_of_flat.reserve(experts.size());
  for (std::int64_t const expert : experts) grouping.row_of_flat.push_back(expert < 0 ? -1 : next[to_size(expert)]++);
  grouping.flat_of_row = inverse(grouping.row_of_flat, rows);
  return grouping;
}

RowGrouping to_batched(RowGrouping const& standard, std::int64_t max_rows) {
  SWITCHYARD_REQUIRE(standard.format == RowFormat::standard, invalid_argument, "the rows are batched already");
  auto const blocks = batched_blocks(standard.rows_per_expert, max_rows);
  RowGrouping batched = with_blocks(standard, blocks, static_cast<std::int64_t>(blocks.size()) * max_rows);
  batched.format = RowFormat::batched;
  batched.max_rows = max_rows;
  return batched;
}

RowGrouping to_standard(RowGrouping const& batched) {
  SWITCHYARD_REQUIRE(batched.format == RowFormat::batched, invalid_argument, "the rows are in the standard format");
  auto const blocks = standard_blocks(batched.rows_per_expert);
  std::int64_t const rows = blocks.empty() ? 0 : blocks.back().first_row + blocks.back().rows;
  RowGrouping standard = with_blocks(batched, blocks, rows);
  standard.format = RowFormat::standard;
  standard.max_rows = 0;
  return standard;
}

}  // namespace switchyard
