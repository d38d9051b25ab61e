// SPDX-License-Identifier: Apache-2.0
/// What emulated ranks hold after a step, compared with core's plans of it.
#pragma once

#include "emulated_step.hpp"
// The emulation comes first.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

namespace support {

using Ranks = std::vector<std::unique_ptr<EmulatedRank>>;

/// Lists behind their ends are poisoned.
inline void compare(char const* name, Integers const& core, std::vector<std::int64_t> const& emulated) {
  CAPTURE(name);
  REQUIRE(core.size() <= emulated.size());
  CHECK(core == Integers(emulated.begin(), emulated.begin() + static_cast<std::ptrdiff_t>(core.size())));
}
inline void compare(char const* name, RowGather const& core, EmulatedRank::Lists const& emulated) {
  CAPTURE(name);
  compare("token_of_row", core.token_of_row, emulated.input);
  compare("slot_of_row", core.slot_of_row, emulated.column);
  compare("row_begin", core.row_begin, emulated.begin);
  compare("rows_of_token", core.rows_of_token, emulated.listed);
}

inline void compare_plan(DispatchPlan const& core, EmulatedRank const& rank) {
  CHECK(rank.error[0] == 0);
  compare("rows", std::get<RowGather>(core.row_return.front()), rank.rows);
  compare("sent", std::get<RowGather>(core.stages.front()), rank.sent);
  compare("expansion", std::get<RowGather>(core.stages.back()), rank.expansion);
  compare("rows_per_slot", core.rows_per_slot, rank.rows_per_slot);
  compare("tokens_per_local", core.tokens_per_local_expert, rank.tokens_per_local);
  compare("rank_send", core.find<RowExchange>()->send_rows, rank.rank_send);
  compare("rank_receive", core.find<RowExchange>()->receive_rows, rank.rank_receive);
  for (DispatchStage const& stage : core.row_return) {
    if (auto const* exchange = std::get_if<RowExchange>(&stage)) {
      compare("lane_send", exchange->send_rows, rank.lane_send);
      compare("lane_receive", exchange->receive_rows, rank.lane_receive);
    }
    if (auto const* sort = std::get_if<ChunkSort>(&stage)) compare("chunk_sizes", sort->sizes, rank.chunk_sizes);
  }
  CHECK(rank.numbers[cuda::kPlanTokens] == core.num_tokens);
  CHECK(rank.numbers[cuda::kPlanExpertRows] == core.num_expert_rows());
}

/// The token that every expert row of a rank is a copy of: (source, token), by the plans of all.
struct Origin {
  std::size_t source;
  std::int64_t token;
};
inline std::vector<Origin> origins_of(std::vector<DispatchPlan> const& plans, std::size_t rank) {
  std::vector<Origin> received;
  for (std::size_t source = 0; source < plans.size(); ++source) {
    Integers const& sends = plans[source].find<RowExchange>()->send_rows;
    std::int64_t row =
        std::accumulate(sends.begin(), sends.begin() + static_cast<std::ptrdiff_t>(rank), std::int64_t{0});
    auto const& sent = std::get<RowGather>(plans[source].stages.front());
    for (std::int64_t i = 0; i < sends[rank]; ++i) received.push_back({source, sent.token_of_row[to_size(row++)]});
  }
  std::vector<Origin> origins;
  for (std::int64_t const input : std::get<RowGather>(plans[rank].stages.back()).token_of_row)
    origins.push_back(received[to_size(input)]);
  return origins;
}

inline void compare_rows(std::vector<DispatchPlan> const& plans, Ranks const& ranks) {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    CAPTURE(rank);
    auto const origins = origins_of(plans, rank);
    auto const hidden = ranks[rank]->shape.hidden();
    for (std::size_t row = 0; row < origins.size(); ++row) {
      float const* const got = ranks[rank]->expert_rows.data() + static_cast<std::int64_t>(row) * hidden;
      float const* const sent = ranks[origins[row].source]->tokens.data() + origins[row].token * hidden;
      CAPTURE(row);
      REQUIRE(std::equal(got, got + hidden, sent));
    }
  }
}

/// Experts hand on what they get, so that a token comes back times its weights; all sums are exact.
inline void compare_sums(Ranks const& ranks) {
  for (auto const& rank : ranks) {
    CAPTURE(rank->self);
    auto const hidden = rank->shape.hidden();
    for (std::int64_t token = 0; token < rank->tokens_here; ++token) {
      float weight = 0;
      for (std::int64_t k = token * rank->shape.columns; k < (token + 1) * rank->shape.columns; ++k)
        if (rank->ids[to_size(k)] >= 0) weight += rank->weights[to_size(k)];
      CAPTURE(token);
      bool is_equal = true;
      for (std::int64_t i = token * hidden; i < (token + 1) * hidden; ++i)
        is_equal = is_equal && rank->out[to_size(i)] == weight * rank->tokens[to_size(i)];
      REQUIRE(is_equal);
    }
    CHECK(rank->state().error == 0);
  }
}

}  // namespace support
