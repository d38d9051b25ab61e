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

/// Remote rows in the order of their places, so that all links work from the first row on.
struct SentRows {
  Narrow token;
  Narrow to;
  Narrow slot;
};
SentRows remote_rows(Integers const& token_of_row, Integers const& send_rows, std::int32_t self,
                     std::int64_t capacity) {
  Integers begin(send_rows.size(), 0);
  std::exclusive_scan(send_rows.begin(), send_rows.end(), begin.begin(), std::int64_t{0});
  std::int64_t const most = send_rows.empty() ? 0 : *std::max_element(send_rows.begin(), send_rows.end());
  auto const world = narrow(static_cast<std::int64_t>(send_rows.size()));
  SentRows sent;
  for (std::int64_t place = 0; place < most; ++place)
    for (std::int32_t step = 1; step < world; ++step) {
      std::int32_t const peer = (self + step) % world;
      auto const index = static_cast<std::size_t>(peer);
      if (place >= send_rows[index]) continue;
      sent.token.push_back(narrow(token_of_row[to_size(begin[index] + place)]));
      sent.to.push_back(peer);
      sent.slot.push_back(narrow(self * capacity + place));
    }
  return sent;
}

/// Rows of concatenated blocks, blocks interleaved in proportion to their sizes: sums for peers are bound by the links
/// and those for this rank by memory, so each kind runs in the shadow of the other.
Narrow interleaved(std::vector<BlockPlace> const& rows, Integers const& block_rows) {
  Narrow order(rows.size());
  std::iota(order.begin(), order.end(), 0);
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
    : device(source.lists()), digest(source.plan().setup.fingerprint().value) {
  DispatchPlan const& plan = source.plan();
  auto const& first = std::get<RowGather>(plan.stages.front());
  auto const& exchange = *plan.find<RowExchange>();
  auto const& expansion = std::get<RowGather>(plan.stages.back());
  std::int32_t const self = plan.rank.value();
  Stream const stream;
  static_cast<void>(device.expansion());  // made now, so that steps allocate nothing
  sent_rows = upload(exchange.send_rows, stream);
  received_rows = upload(exchange.receive_rows, stream);

  auto const sent = remote_rows(first.token_of_row, exchange.send_rows, self, capacity);
  sent_token = upload(sent.token, stream);
  sent_to = upload(sent.to, stream);
  sent_slot = upload(sent.slot, stream);
  num_sent = static_cast<std::int64_t>(sent.token.size());

  auto const received = places_in_blocks(exchange.receive_rows);
  num_received = static_cast<std::int64_t>(received.size());
  num_own = exchange.receive_rows[to_size(self)];
  auto const own_block = exchange.receive_rows.begin() + self;
  first_own = std::accumulate(exchange.receive_rows.begin(), own_block, std::int64_t{0});
  auto const first_kept =
      std::accumulate(exchange.send_rows.begin(), exchange.send_rows.begin() + self, std::int64_t{0});
  auto const kept = first.token_of_row.begin() + first_kept;
  own_token = upload(Narrow(kept, kept + num_own), stream);

  Narrow slots;
  Narrow to;
  Narrow back;
  for (BlockPlace const& row : received) {
    slots.push_back(row.rank == self ? -1 : narrow(row.rank * capacity + row.place));
    to.push_back(row.rank);
    back.push_back(narrow(self * capacity + row.place));
  }
  received_slot = upload(slots, stream);
  partial_order = upload(interleaved(received, exchange.receive_rows), stream);
  return_to = upload(to, stream);
  return_slot = upload(back, stream);
  places = upload(Narrow(expansion.rows_of_token.begin(), expansion.rows_of_token.end()), stream);

  Integers own_index;
  Narrow term_slots;
  Narrow columns;
  for (std::int64_t const row : expansion.rows_of_token) {
    std::int64_t const carried = expansion.token_of_row[to_size(row)];
    std::int64_t const column = expansion.slot_of_row[to_size(row)];
    bool const is_own = received[to_size(carried)].rank == self;
    own_index.push_back(is_own ? kept[carried - first_own] * plan.slot_columns + column : -1);
    term_slots.push_back(slots[to_size(carried)]);
    columns.push_back(narrow(column));
  }
  term_own = upload(own_index, stream);
  term_slot = upload(term_slots, stream);
  term_column = upload(columns, stream);
  term_weights = DeviceBuffer(checked_mul(static_cast<std::int64_t>(columns.size()), std::int64_t{sizeof(float)}));

  auto const path = internal::partial_path(plan, TpJoin::tree_then_row);
  auto const returned = places_in_blocks(path.returned);
  Integers join;
  for (std::int64_t const partial : path.partials)
    join.push_back(returned[to_size(partial)].rank * capacity + returned[to_size(partial)].place);
  join_begin = upload(path.begin.empty() ? Integers{0} : path.begin, stream);
  join_slots = upload(join, stream);
}

FusedPlan::FusedPlan(std::unique_ptr<Lists> lists) : lists_(std::move(lists)) {}
FusedPlan::~FusedPlan() = default;
FusedPlan::FusedPlan(FusedPlan&&) noexcept = default;
FusedPlan& FusedPlan::operator=(FusedPlan&&) noexcept = default;

}  // namespace switchyard::cuda
