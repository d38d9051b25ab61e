// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/dispatch_stage.hpp"

#include "row_sums.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

struct InputRows {
  std::int64_t operator()(RowGather const& stage) const {
    return stage.row_begin.empty() ? 0 : static_cast<std::int64_t>(stage.row_begin.size()) - 1;
  }
  std::int64_t operator()(RowExchange const& stage) const { return sum_rows(stage.send_rows); }
  std::int64_t operator()(GroupGather const& stage) const { return stage.own_rows; }
  std::int64_t operator()(ChunkSort const& stage) const { return sum_rows(stage.sizes); }
  std::int64_t operator()(ShardRepeat const& stage) const { return stage.rows; }
};

struct OutputRows {
  std::int64_t operator()(RowGather const& stage) const { return static_cast<std::int64_t>(stage.token_of_row.size()); }
  std::int64_t operator()(RowExchange const& stage) const { return sum_rows(stage.receive_rows); }
  std::int64_t operator()(GroupGather const& stage) const { return sum_rows(stage.receive_rows); }
  std::int64_t operator()(ChunkSort const& stage) const { return sum_rows(stage.sizes); }
  std::int64_t operator()(ShardRepeat const& stage) const { return saturating_mul(stage.rows, stage.copies); }
};

}  // namespace

ChunkSort inverse_of(ChunkSort const& sort) {
  std::size_t const chunks = sort.sizes.size();
  SWITCHYARD_REQUIRE(sort.order.size() == chunks, invalid_plan, "chunk sort with {} sizes but an order of {}", chunks,
                     sort.order.size());
  ChunkSort inverse{std::vector<std::int64_t>(chunks), std::vector<std::int64_t>(chunks, -1)};
  for (std::size_t place = 0; place < chunks; ++place) {
    std::int64_t const chunk = sort.order[place];
    SWITCHYARD_REQUIRE(chunk >= 0 && to_size(chunk) < chunks && inverse.order[to_size(chunk)] < 0, invalid_plan,
                       "chunk sort order names chunk {} at place {}: not a permutation of {} chunks", chunk, place,
                       chunks);
    inverse.order[to_size(chunk)] = static_cast<std::int64_t>(place);
    inverse.sizes[place] = sort.sizes[to_size(chunk)];
  }
  return inverse;
}

RowExchange inverse_of(RowExchange const& exchange) {
  return {exchange.receive_rows, exchange.send_rows};
}

std::vector<std::int64_t> inverse_rows(RowGather const& gather) {
  std::vector<std::int64_t> rows(to_size(input_rows(gather)), -1);
  for (std::size_t input = 0; input < rows.size(); ++input) {
    std::int64_t const begin = gather.row_begin[input];
    std::int64_t const count = gather.row_begin[input + 1] - begin;
    SWITCHYARD_REQUIRE(begin >= 0 && count >= 0 && count <= 1 &&
                           begin + count <= static_cast<std::int64_t>(gather.rows_of_token.size()),
                       invalid_plan,
                       "input row {} of a gather has {} output rows: only a gather with at most one can be "
                       "undone without adding",
                       input, count);
    if (count == 1) rows[input] = gather.rows_of_token[to_size(begin)];
  }
  return rows;
}

std::int64_t input_rows(DispatchStage const& stage) {
  return std::visit(InputRows{}, stage);
}

std::int64_t output_rows(DispatchStage const& stage) {
  return std::visit(OutputRows{}, stage);
}

}  // namespace switchyard
