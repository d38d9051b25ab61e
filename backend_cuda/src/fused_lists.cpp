// SPDX-License-Identifier: Apache-2.0
#include "fused_lists.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

using Integers = std::vector<std::int64_t>;
using Narrow = std::vector<std::int32_t>;

std::int32_t narrow(std::int64_t value) {
  return static_cast<std::int32_t>(value);
}

/// Which block a row of concatenated blocks is in, and its place there.
struct BlockPlace {
  std::int32_t rank;
  std::int64_t place;
};
std::vector<BlockPlace> places_in_blocks(Integers const& block_rows) {
  std::vector<BlockPlace> places;
  for (std::size_t rank = 0; rank < block_rows.size(); ++rank)
    for (std::int64_t place = 0; place < block_rows[rank]; ++place)
      places.push_back({static_cast<std::int32_t>(rank), place});
  return places;
}

/// Where a token goes: remote slots by token, peers in turn so that no rank is everybody's first, and its own row.
struct TokenTargets {
  Narrow begin;
  Narrow to;
  Narrow slot;
  Narrow own_row;
};
struct Target {
  std::int32_t peer;
  std::int64_t place;
};

/// @param rows_before received rows in front of this rank's own block
TokenTargets targets_of(Integers const& token_of_row, Integers const& send_rows, std::int32_t self,
                        std::int64_t capacity, std::int64_t num_tokens, std::int64_t rows_before) {
  auto const world = narrow(static_cast<std::int64_t>(send_rows.size()));
  std::vector<std::vector<Target>> of_token(to_size(num_tokens));
  auto const blocks = places_in_blocks(send_rows);
  for (std::size_t row = 0; row < blocks.size(); ++row)
    of_token[to_size(token_of_row[row])].push_back({blocks[row].rank, blocks[row].place});
  TokenTargets targets;
  targets.begin.push_back(0);
  for (auto& token : of_token) {
    auto const turn = [&](Target const& target) { return (target.peer - self + world) % world; };
    std::sort(token.begin(), token.end(), [&](Target const& a, Target const& b) { return turn(a) < turn(b); });
    bool const is_kept = !token.empty() && token.front().peer == self;
    targets.own_row.push_back(is_kept ? narrow(rows_before + token.front().place) : -1);
    for (auto target = token.begin() + (is_kept ? 1 : 0); target != token.end(); ++target) {
      targets.to.push_back(target->peer);
      targets.slot.push_back(narrow(self * capacity + target->place));
    }
    targets.begin.push_back(narrow(static_cast<std::int64_t>(targets.to.size())));
  }
  return targets;
}

/// Rows of peers, blocks interleaved in proportion to their sizes.
Narrow interleaved_remote(std::vector<BlockPlace> const& rows, Integers const& block_rows, std::int32_t self) {
  Narrow order;
  for (std::size_t row = 0; row < rows.size(); ++row)
    if (rows[row].rank != self) order.push_back(narrow(static_cast<std::int64_t>(row)));
  auto const progress_before = [&](std::int32_t left, std::int32_t right) {
    BlockPlace const& a = rows[to_size(left)];
    BlockPlace const& b = rows[to_size(right)];
    return a.place * block_rows[to_size(b.rank)] < b.place * block_rows[to_size(a.rank)];
  };
  std::stable_sort(order.begin(), order.end(), progress_before);
  return order;
}

}  // namespace

FusedPlan::Lists::Lists(DevicePlan const& source, std::int64_t capacity)
    : num_tokens(source.plan().num_tokens),
      slot_columns(source.plan().slot_columns),
      expert_rows(source.plan().num_expert_rows()),
      // The plan's expansion is made now, so that steps allocate nothing.
      place_begin(source.lists().expansion().begin.as<std::int64_t const>()),
      digest(source.plan().setup.fingerprint().value) {
  DispatchPlan const& plan = source.plan();
  auto const& first = std::get<RowGather>(plan.stages.front());
  auto const& exchange = *plan.find<RowExchange>();
  auto const& expansion = std::get<RowGather>(plan.stages.back());
  std::int32_t const self = plan.rank.value();
  Stream const stream;
  splits[0] = upload(exchange.send_rows, stream);
  splits[1] = upload(exchange.receive_rows, stream);
  sent_rows = splits[0].as<std::int64_t const>();
  received_rows = splits[1].as<std::int64_t const>();
  auto const own_block = exchange.receive_rows.begin() + self;
  auto const rows_before = std::accumulate(exchange.receive_rows.begin(), own_block, std::int64_t{0});
  auto const targets = targets_of(first.token_of_row, exchange.send_rows, self, capacity, plan.num_tokens, rows_before);
  sent_begin = upload(targets.begin, stream);
  sent_to = upload(targets.to, stream);
  sent_slot = upload(targets.slot, stream);
  own_row = upload(targets.own_row, stream);

  auto const received = places_in_blocks(exchange.receive_rows);
  Narrow const remote = interleaved_remote(received, exchange.receive_rows, self);
  num_remote = static_cast<std::int64_t>(remote.size());
  Narrow from;
  Narrow slots;
  Narrow back;
  for (std::int32_t const index : remote) {
    BlockPlace const& row = received[to_size(index)];
    from.push_back(row.rank);
    slots.push_back(narrow(row.rank * capacity + row.place));
    back.push_back(narrow(self * capacity + row.place));
  }
  remote_row = upload(remote, stream);
  remote_from = upload(from, stream);
  remote_slot = upload(slots, stream);
  return_slot = upload(back, stream);
  places = upload(Narrow(expansion.rows_of_token.begin(), expansion.rows_of_token.end()), stream);
  Narrow columns;
  for (std::int64_t const row : expansion.rows_of_token) columns.push_back(narrow(expansion.slot_of_row[to_size(row)]));
  term_column = upload(columns, stream);
  term_weights = DeviceBuffer(checked_mul(static_cast<std::int64_t>(columns.size()), std::int64_t{sizeof(float)}));

  auto const path = internal::partial_path(plan, TpJoin::tree_then_row);
  auto const returned = places_in_blocks(path.returned);
  Narrow join;
  for (std::int64_t const partial : path.partials) {
    BlockPlace const& row = returned[to_size(partial)];
    join.push_back(narrow(row.rank == self ? -1 - (rows_before + row.place) : row.rank * capacity + row.place));
  }
  Narrow begin(path.begin.begin(), path.begin.end());
  if (begin.empty()) begin.push_back(0);
  join_begin = upload(begin, stream);
  join_slots = upload(join, stream);
}

FusedPlan::FusedPlan(std::unique_ptr<Lists> lists) : lists_(std::move(lists)) {}
FusedPlan::~FusedPlan() = default;
FusedPlan::FusedPlan(FusedPlan&&) noexcept = default;
FusedPlan& FusedPlan::operator=(FusedPlan&&) noexcept = default;

std::int64_t FusedPlan::expert_rows() const noexcept {
  return lists_->expert_rows;
}
DevicePlanner const* FusedPlan::planner() const noexcept {
  return lists_->planner ? &*lists_->planner : nullptr;
}

}  // namespace switchyard::cuda
