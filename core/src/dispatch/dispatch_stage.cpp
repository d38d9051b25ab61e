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
  std::int64_t operator()(TpGather const& stage) const { return stage.own_rows; }
  std::int64_t operator()(ChunkSort const& stage) const { return sum_rows(stage.sizes); }
};

struct OutputRows {
  std::int64_t operator()(RowGather const& stage) const { return static_cast<std::int64_t>(stage.token_of_row.size()); }
  std::int64_t operator()(RowExchange const& stage) const { return sum_rows(stage.receive_rows); }
  std::int64_t operator()(TpGather const& stage) const { return sum_rows(stage.receive_rows); }
  std::int64_t operator()(ChunkSort const& stage) const { return sum_rows(stage.sizes); }
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

std::int64_t input_rows(DispatchStage const& stage) {
  return std::visit(InputRows{}, stage);
}

std::int64_t output_rows(DispatchStage const& stage) {
  return std::visit(OutputRows{}, stage);
}

}  // namespace switchyard
