// SPDX-License-Identifier: Apache-2.0
#include "fused_lists.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "device_list.hpp"
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

/// Where a token goes: remote slots by token, peers in turn so that no rank is everybody's first, and its own terms.
struct TokenTargets {
  Narrow begin;
  Narrow to;
  Narrow slot;
  std::vector<FusedTerms> own;
};
struct Target {
  std::int32_t peer;
  std::int64_t place;
};
/// Rows of peers in the order of their consumption.
struct RemoteLists {
  std::vector<FusedTerms> terms;
  Narrow from;
  Narrow slot;
  Narrow return_slot;
};
/// What every token is the sum of.
struct JoinLists {
  Narrow begin;
  Narrow slot;
};

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

/// The lists of one plan, on the host.
class HostLists {
 public:
  HostLists(DispatchPlan const& plan, std::int64_t capacity)
      : plan_(plan),
        sent_(std::get<RowGather>(plan.stages.front())),
        exchange_(*plan.find<RowExchange>()),
        expansion_(std::get<RowGather>(plan.stages.back())),
        self_(plan.rank.value()),
        capacity_(capacity),
        rows_before_(
            std::accumulate(exchange_.receive_rows.begin(), exchange_.receive_rows.begin() + self_, std::int64_t{0})) {}

  [[nodiscard]] TokenTargets targets() const;
  [[nodiscard]] RemoteLists remote() const;
  [[nodiscard]] JoinLists join() const;
  /// The weight of its token that every place has.
  [[nodiscard]] Narrow term_columns() const {
    Narrow columns;
    for (std::int64_t const row : expansion_.rows_of_token)
      columns.push_back(narrow(expansion_.slot_of_row[to_size(row)]));
    return columns;
  }

 private:
  [[nodiscard]] FusedTerms terms_of(std::int64_t row) const {
    return {narrow(expansion_.row_begin[to_size(row)]), narrow(expansion_.row_begin[to_size(row + 1)])};
  }
  [[nodiscard]] std::int32_t slot_of(std::int32_t rank, std::int64_t place) const {
    return narrow(rank * capacity_ + place);
  }
  [[nodiscard]] std::vector<std::vector<Target>> targets_of_tokens() const;

  DispatchPlan const& plan_;
  RowGather const& sent_;
  RowExchange const& exchange_;
  RowGather const& expansion_;
  std::int32_t self_;
  std::int64_t capacity_;
  std::int64_t rows_before_;  ///< received rows in front of this rank's own block
};

std::vector<std::vector<Target>> HostLists::targets_of_tokens() const {
  auto const world = narrow(static_cast<std::int64_t>(exchange_.send_rows.size()));
  std::vector<std::vector<Target>> of_token(to_size(plan_.num_tokens));
  auto const blocks = places_in_blocks(exchange_.send_rows);
  for (std::size_t row = 0; row < blocks.size(); ++row)
    of_token[to_size(sent_.token_of_row[row])].push_back({blocks[row].rank, blocks[row].place});
  auto const turn = [&](Target const& target) { return (target.peer - self_ + world) % world; };
  for (auto& token : of_token)
    std::sort(token.begin(), token.end(), [&](Target const& a, Target const& b) { return turn(a) < turn(b); });
  return of_token;
}

TokenTargets HostLists::targets() const {
  TokenTargets targets;
  targets.begin.push_back(0);
  for (auto const& token : targets_of_tokens()) {
    bool const is_kept = !token.empty() && token.front().peer == self_;
    targets.own.push_back(is_kept ? terms_of(rows_before_ + token.front().place) : FusedTerms{0, 0});
    for (auto target = token.begin() + (is_kept ? 1 : 0); target != token.end(); ++target) {
      targets.to.push_back(target->peer);
      targets.slot.push_back(slot_of(self_, target->place));
    }
    targets.begin.push_back(narrow(static_cast<std::int64_t>(targets.to.size())));
  }
  return targets;
}

RemoteLists HostLists::remote() const {
  auto const received = places_in_blocks(exchange_.receive_rows);
  RemoteLists lists;
  for (std::int32_t const index : interleaved_remote(received, exchange_.receive_rows, self_)) {
    BlockPlace const& row = received[to_size(index)];
    lists.terms.push_back(terms_of(index));
    lists.from.push_back(row.rank);
    lists.slot.push_back(slot_of(row.rank, row.place));
    lists.return_slot.push_back(slot_of(self_, row.place));
  }
  return lists;
}

JoinLists HostLists::join() const {
  auto const path = internal::partial_path(plan_, TpJoin::tree_then_row);
  auto const returned = places_in_blocks(path.returned);
  JoinLists lists{Narrow(path.begin.begin(), path.begin.end()), {}};
  if (lists.begin.empty()) lists.begin.push_back(0);
  for (std::int64_t const partial : path.partials) {
    BlockPlace const& row = returned[to_size(partial)];
    lists.slot.push_back(row.rank == self_ ? -1 : slot_of(row.rank, row.place));
  }
  return lists;
}

}  // namespace

FusedPlan::Lists::Lists(DevicePlan const& source, std::int64_t capacity)
    : num_tokens(source.plan().num_tokens),
      slot_columns(source.plan().slot_columns),
      expert_rows(source.plan().num_expert_rows()),
      digest(source.plan().setup.fingerprint().value) {
  DispatchPlan const& plan = source.plan();
  auto const& exchange = *plan.find<RowExchange>();
  Stream const stream;
  splits[0] = upload(exchange.send_rows, stream);
  splits[1] = upload(exchange.receive_rows, stream);
  sent_rows = splits[0].as<std::int64_t const>();
  received_rows = splits[1].as<std::int64_t const>();
  HostLists const lists(plan, capacity);
  auto const targets = lists.targets();
  sent_begin = upload(targets.begin, stream);
  sent_to = upload(targets.to, stream);
  sent_slot = upload(targets.slot, stream);
  own_terms = upload(targets.own, stream);
  auto const remote_lists = lists.remote();
  num_remote = static_cast<std::int64_t>(remote_lists.terms.size());
  remote_terms = upload(remote_lists.terms, stream);
  remote_from = upload(remote_lists.from, stream);
  remote_slot = upload(remote_lists.slot, stream);
  return_slot = upload(remote_lists.return_slot, stream);
  auto const& rows_of_token = std::get<RowGather>(plan.stages.back()).rows_of_token;
  places = upload(Narrow(rows_of_token.begin(), rows_of_token.end()), stream);
  term_column = upload(lists.term_columns(), stream);
  term_weights = device_list<float>(static_cast<std::int64_t>(rows_of_token.size()));
  auto const join = lists.join();
  join_begin = upload(join.begin, stream);
  join_slots = upload(join.slot, stream);
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
