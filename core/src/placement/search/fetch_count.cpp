// SPDX-License-Identifier: Apache-2.0
#include "fetch_count.hpp"

#include <algorithm>

namespace switchyard::placement {

namespace {

/// Calls `visit(rank, old expert, new expert)` for every slot that a change writes.
template <typename Visit>
void for_each_slot(LayerState const& state, Change const& change, Visit&& visit) {
  auto const visit_slot = [&](std::size_t slot, std::size_t expert) {
    visit(state.cluster().rank_of_slot[slot], state.expert_at(slot), expert);
  };
  switch (change.kind) {
    case Change::Kind::none: break;
    case Change::Kind::exchange:
      visit_slot(change.slot, state.expert_at(change.other));
      visit_slot(change.other, state.expert_at(change.slot));
      break;
    case Change::Kind::retarget: visit_slot(change.slot, change.expert); break;
    case Change::Kind::cycle:
      visit_slot(change.slot, state.expert_at(change.third));
      visit_slot(change.other, state.expert_at(change.slot));
      visit_slot(change.third, state.expert_at(change.other));
      break;
  }
}

}  // namespace

FetchCount::FetchCount(LayerState const& start)
    : num_experts_(start.cluster().num_experts),
      at_start_(start.cluster().num_ranks() * num_experts_, 0),
      homes_(num_experts_),
      per_rank_(start.cluster().num_ranks(), 0) {
  for (std::size_t const rank : start.cluster().live) {
    for (std::size_t const expert : start.experts_on(rank)) {
      if (expert != kNone && at_start_[rank * num_experts_ + expert] == 0) {
        at_start_[rank * num_experts_ + expert] = 1;
        homes_[expert].push_back(rank);
      }
    }
  }
}

std::int64_t FetchCount::added_by(LayerState const& state, Change const& change) const {
  std::int64_t sum = 0;
  for_each_slot(state, change,
                [&](std::size_t rank, std::size_t old, std::size_t expert) { sum += added(rank, old, expert); });
  return sum;
}

void FetchCount::add(LayerState const& state, Change const& change) {
  for_each_slot(state, change, [&](std::size_t rank, std::size_t old, std::size_t expert) {
    std::int64_t const more = added(rank, old, expert);
    per_rank_[rank] += more;
    total_ += more;
  });
}

FetchCount FetchCount::recounted(LayerState const& state) const {
  FetchCount counted = *this;
  counted.per_rank_.assign(per_rank_.size(), 0);
  counted.total_ = 0;
  for (auto const& [rank, expert] : list(state)) {
    ++counted.per_rank_[rank];
    ++counted.total_;
  }
  return counted;
}

std::vector<std::pair<std::size_t, std::size_t>> FetchCount::list(LayerState const& state) const {
  std::vector<std::pair<std::size_t, std::size_t>> fetches;
  for (std::size_t const rank : state.cluster().live) {
    auto const first = static_cast<std::ptrdiff_t>(fetches.size());
    for (std::size_t const expert : state.experts_on(rank)) {
      if (is_foreign(rank, expert)) {
        fetches.emplace_back(rank, expert);
      }
    }
    std::sort(fetches.begin() + first, fetches.end());
  }
  return fetches;
}

}  // namespace switchyard::placement
