// SPDX-License-Identifier: Apache-2.0
#include "switchyard/internal/combine_paths.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::internal {
namespace {

constexpr std::uint32_t kFieldSetup = 1;
constexpr std::uint32_t kFieldPayload = 2;

/// Every rank has a partial of every token.
PartialPath path_of_gather(DispatchPlan const& plan, TpJoin join) {
  PartialPath path;
  auto const* const gather = plan.find<GroupGather>();
  path.held = gather != nullptr ? gather->receive_rows : std::vector<std::int64_t>{plan.num_tokens};
  path.returned.assign(path.held.size(), plan.num_tokens);
  path.begin.push_back(0);
  for (std::int64_t token = 0; token < plan.num_tokens; ++token) {
    for (std::size_t rank = 0; rank < path.held.size(); ++rank)
      if (exchanges_partials(plan, join, RankId{static_cast<std::int32_t>(rank)}))
        path.partials.push_back(static_cast<std::int64_t>(rank) * plan.num_tokens + token);
    path.begin.push_back(static_cast<std::int64_t>(path.partials.size()));
  }
  return path;
}

/// A rank has partials of the tokens that were sent to it.
PartialPath path_of_exchange(DispatchPlan const& plan, TpJoin join, RowGather const& sent,
                             RowExchange const& exchange) {
  PartialPath path;
  path.held = exchange.receive_rows;
  path.returned = exchange.send_rows;
  std::vector<bool> wanted;
  for (std::size_t rank = 0; rank < path.returned.size(); ++rank)
    wanted.insert(wanted.end(), to_size(path.returned[rank]),
                  exchanges_partials(plan, join, RankId{static_cast<std::int32_t>(rank)}));
  path.begin.push_back(0);
  for (std::size_t token = 0; token + 1 < sent.row_begin.size(); ++token) {
    for (std::int64_t i = sent.row_begin[token]; i < sent.row_begin[token + 1]; ++i)
      if (wanted[to_size(sent.rows_of_token[to_size(i)])]) path.partials.push_back(sent.rows_of_token[to_size(i)]);
    path.begin.push_back(static_cast<std::int64_t>(path.partials.size()));
  }
  return path;
}

/// The logical expert of a row of `gather`.
std::int32_t expert_of_row(DispatchPlan const& plan, RowGather const& gather, std::span<std::int32_t const> experts,
                           std::int64_t row) {
  std::int64_t const token = gather.token_of_row[to_size(row)];
  std::int64_t const slot = gather.slot_of_row[to_size(row)];
  if (experts.empty()) return static_cast<std::int32_t>(slot);
  std::int32_t const expert = experts[to_size(token * plan.slot_columns + slot)];
  SWITCHYARD_REQUIRE(
      expert >= 0 && expert < plan.setup.num_experts, invalid_argument,
      "token {}, slot {} on rank {} was sent, but its expert is given as {} of {}: pass the ids that the "
      "plan was made from",
      token, slot, plan.rank.value(), expert, plan.setup.num_experts);
  return expert;
}

/// Past the last source row of every rank that holds experts, ascending. Rows are sent in blocks by destination; hidden
/// shards repeat the blocks, so the first shard's say it all.
std::vector<std::int64_t> ends_of_ranks(DispatchPlan const& plan) {
  auto const& path = return_path(plan);
  auto const rows = output_rows(path.front());
  std::vector<std::int64_t> ends;
  for (auto const& stage : path) {
    auto const* exchange = std::get_if<RowExchange>(&stage);
    if (exchange == nullptr) continue;
    for (std::int64_t const count : exchange->send_rows) {
      std::int64_t const end = (ends.empty() ? 0 : ends.back()) + count;
      if (end > rows) break;
      ends.push_back(end);
    }
  }
  if (ends.empty() || ends.back() < rows) ends.push_back(rows);
  return ends;
}

}  // namespace

bool exchanges_partials(DispatchPlan const& plan, TpJoin join, RankId peer) noexcept {
  return join == TpJoin::as_ranks || plan.setup.grid.same_lane(plan.rank, peer);
}

PartialPath partial_path(DispatchPlan const& plan, TpJoin join) {
  auto const* const exchange = plan.find<RowExchange>();
  if (exchange == nullptr) return path_of_gather(plan, join);
  return path_of_exchange(plan, join, std::get<RowGather>(plan.stages.front()), *exchange);
}

GroupGather share_of_rows(DispatchPlan const& plan, std::int64_t rows) {
  auto const& grid = plan.setup.grid;
  GroupGather share;
  share.receive_rows.assign(to_size(grid.world()), 0);
  for (int tp = 0; tp < grid.tp; ++tp) {
    auto const peer = grid.rank_of(grid.ep_rank_of(plan.rank), tp).index();
    share.receive_rows[peer] = rows * (tp + 1) / grid.tp - rows * tp / grid.tp;
  }
  share.own_rows = share.receive_rows[plan.rank.index()];
  return share;
}

RowGather ordered_by_expert(DispatchPlan const& plan, RowGather gather, std::span<std::int32_t const> experts) {
  auto const expected = checked_mul(plan.num_tokens, plan.slot_columns);
  bool const dense = experts.empty() && plan.slot_columns == plan.setup.num_experts;
  SWITCHYARD_REQUIRE(dense || static_cast<std::int64_t>(experts.size()) == expected, shape_mismatch,
                     "rank {} combines in expert order with {} expert ids: {} tokens x {} slots need {}",
                     plan.rank.value(), experts.size(), plan.num_tokens, plan.slot_columns, expected);
  std::vector<std::int32_t> expert_of(gather.token_of_row.size(), -1);
  for (std::int64_t const row : gather.rows_of_token)
    expert_of[to_size(row)] = expert_of_row(plan, gather, experts, row);
  for (std::size_t token = 0; token + 1 < gather.row_begin.size(); ++token) {
    auto const begin = gather.rows_of_token.begin() + gather.row_begin[token];
    auto const end = gather.rows_of_token.begin() + gather.row_begin[token + 1];
    std::stable_sort(begin, end,
                     [&](std::int64_t a, std::int64_t b) { return expert_of[to_size(a)] < expert_of[to_size(b)]; });
  }
  return gather;
}

RankSums rank_sums(DispatchPlan const& plan) {
  std::vector<std::int64_t> const ends = ends_of_ranks(plan);
  RankSums sums{std::get<RowGather>(return_path(plan).front()), {}, {0}};
  for (std::size_t token = 0; token + 1 < sums.rows.row_begin.size(); ++token) {
    auto const first = sums.rows.row_begin[token];
    auto const last = sums.rows.row_begin[token + 1];
    std::sort(sums.rows.rows_of_token.begin() + first, sums.rows.rows_of_token.begin() + last);
    auto end = ends.begin();
    for (std::int64_t i = first; i < last; ++i) {
      std::int64_t const row = sums.rows.rows_of_token[to_size(i)];
      bool const next_rank = i == first || row >= *end;
      end = std::upper_bound(end, ends.end(), row);
      if (next_rank) sums.row_begin.push_back(i);
    }
    sums.partial_begin.push_back(static_cast<std::int64_t>(sums.row_begin.size()));
  }
  sums.row_begin.push_back(static_cast<std::int64_t>(sums.rows.rows_of_token.size()));
  return sums;
}

std::vector<RankId> ranks_of_group(DispatchPlan const& plan, GatherGroup kind) {
  auto const& grid = plan.setup.grid;
  std::vector<RankId> group;
  for (int rank = 0; rank < grid.world(); ++rank)
    if (kind == GatherGroup::world || grid.same_experts(plan.rank, RankId{rank})) group.push_back(RankId{rank});
  return group;
}

void require_join_bias(DispatchPlan const& plan, CombineRecipe const& recipe,
                       std::optional<ConstTensorView> const& bias, std::int64_t hidden, MemorySpace space) {
  if (!bias) return;
  bool const on_device = space == MemorySpace::device;
  SWITCHYARD_REQUIRE(plan.setup.grid.tp > 1, invalid_argument,
                     "rank {} gives a bias to add where TP partials are joined, but TP is 1: experts add it themselves",
                     plan.rank.value());
  SWITCHYARD_REQUIRE(recipe.tp_join == TpJoin::tree_then_row, unsupported,
                     "a bias on joined rows with {}, which joins no TP partials{}", to_string(recipe),
                     on_device ? "" : ": use combine_bias()");
  auto const& shape = bias->shape();
  bool const fits = shape.rank() == 2 && shape.extent(0) == plan.num_local_experts() && shape.extent(1) == hidden &&
                    shape.contiguous() && (bias->space() == MemorySpace::device) == on_device;
  SWITCHYARD_REQUIRE(fits, shape_mismatch, "the bias of rank {} must be [{}, {}] contiguous on the {}",
                     plan.rank.value(), plan.num_local_experts(), hidden, on_device ? "device" : "host");
}

std::uint64_t payload_digest(DispatchPlan const& plan, DType moved, DType result, std::int64_t hidden) {
  std::int64_t const payload[] = {static_cast<std::int64_t>(moved), static_cast<std::int64_t>(result), hidden};
  FingerprintBuilder builder;
  builder.add(kFieldSetup, static_cast<std::int64_t>(plan.setup.fingerprint().value));
  builder.add(kFieldPayload, payload);
  return builder.result().value;
}

std::uint64_t recipe_digest(std::uint64_t configuration, CombineRecipe const& recipe, bool weights_f64, bool partials) {
  std::int64_t const fields[] = {
      static_cast<std::int64_t>(configuration),     static_cast<std::int64_t>(recipe.order),
      static_cast<std::int64_t>(recipe.multiply),   static_cast<std::int64_t>(recipe.product),
      static_cast<std::int64_t>(recipe.accumulate), static_cast<std::int64_t>(recipe.partial),
      static_cast<std::int64_t>(weights_f64),       static_cast<std::int64_t>(partials)};
  FingerprintBuilder builder;
  builder.add(1, fields);
  return builder.result().value;
}

}  // namespace switchyard::internal
