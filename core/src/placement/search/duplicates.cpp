// SPDX-License-Identifier: Apache-2.0
#include "duplicates.hpp"

#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "change.hpp"

namespace switchyard::placement {

namespace {

struct Option {
  Change change;
  double largest;  // of all ranks that matter: the present maximum, or what the change makes of it
  std::int64_t fetches;
};

/// The ways to rid one slot of its expert.
class Options {
 public:
  Options(LayerState const& state, FetchCount const& fetches, std::size_t slot)
      : state_(state), fetches_(fetches), slot_(slot), now_(state.max_value()) {}

  /// Best first.
  std::vector<Option> find(std::size_t slots_to_fill) {
    for (std::size_t expert = 0; expert < state_.cluster().num_experts; ++expert) {
      if (may_retarget(state_, slot_, expert, slots_to_fill, slots_to_fill)) {
        double const value = value_after_retarget(state_, slot_, expert, std::numeric_limits<double>::infinity());
        add({Change::Kind::retarget, slot_, kNone, kNone, expert, value});
      }
    }
    for (std::size_t other = 0; other < state_.slots().size(); ++other) {
      if (may_exchange(other)) {
        add({Change::Kind::exchange, slot_, other, kNone, kNone, value_after_exchange(other)});
      }
    }
    std::stable_sort(options_.begin(), options_.end(), [](Option const& a, Option const& b) {
      return std::tie(a.largest, a.fetches, a.change.value) < std::tie(b.largest, b.fetches, b.change.value);
    });
    return std::move(options_);
  }

 private:
  void add(Change const& change) {
    options_.push_back({change, std::max(now_, change.value), fetches_.added_by(state_, change)});
  }

  /// Empty slots stay empty: an exchange with one would only move the hole.
  [[nodiscard]] bool may_exchange(std::size_t other) const {
    auto const& rank_of = state_.cluster().rank_of_slot;
    return rank_of[other] != rank_of[slot_] && state_.expert_at(other) != kNone && state_.may_swap(slot_, other);
  }

  [[nodiscard]] double value_after_exchange(std::size_t other) const {
    Cluster const& cluster = state_.cluster();
    std::size_t const rank = cluster.rank_of_slot[slot_];
    std::size_t const other_rank = cluster.rank_of_slot[other];
    double const given = state_.share(state_.expert_at(slot_)) - state_.share(state_.expert_at(other));
    return std::max((state_.sum(rank) - given) / cluster.speed[rank],
                    (state_.sum(other_rank) + given) / cluster.speed[other_rank]);
  }

  LayerState const& state_;
  FetchCount const& fetches_;
  std::size_t slot_;
  double now_;
  std::vector<Option> options_{};
};

bool try_option(LayerState& state, FetchCount& fetches, Option const& option, DuplicateLimits const& limits,
                FetchFilter const& allows) {
  if (fetches.total() + option.fetches > limits.max_fetches) {
    return false;
  }
  FetchCount fetches_after = fetches;
  LayerState after = state;
  fetches_after.add(state, option.change);
  apply(after, option.change);
  if (allows && !allows(after, fetches_after)) {
    return false;
  }
  state = std::move(after);
  fetches = std::move(fetches_after);
  return true;
}

}  // namespace

int count_duplicates(LayerState const& state) {
  int duplicates = 0;
  for (std::size_t const rank : state.cluster().live) {
    for (std::size_t expert = 0; expert < state.cluster().num_experts; ++expert) {
      duplicates += std::max(0, static_cast<int>(state.replicas_on(rank, expert)) - 1);
    }
  }
  return duplicates;
}

DuplicatesLeft settle_duplicates(LayerState& state, FetchCount& fetches, DuplicateLimits const& limits,
                                 FetchFilter const& allows) {
  constexpr std::size_t kMaxTried = 32;
  DuplicatesLeft left;
  for (std::size_t const rank : state.cluster().live) {
    std::size_t const end = state.cluster().first_slot[rank + 1];
    std::vector<std::size_t> stuck;  // experts that stay here twice
    for (std::size_t slot = state.cluster().first_slot[rank]; slot < end; ++slot) {
      std::size_t const expert = state.expert_at(slot);
      auto const kept = static_cast<std::size_t>(std::count(stuck.begin(), stuck.end(), expert));
      if (expert == kNone || state.replicas_on(rank, expert) < 2 + kept) {
        continue;
      }
      auto const options = Options(state, fetches, slot).find(limits.slots_to_fill);
      auto const end_of_tries = options.begin() + static_cast<std::ptrdiff_t>(std::min(options.size(), kMaxTried));
      bool const is_gone = std::any_of(options.begin(), end_of_tries, [&](Option const& option) {
        return try_option(state, fetches, option, limits, allows);
      });
      if (!is_gone) {
        stuck.push_back(expert);
        (options.empty() ? left.without_change : left.over_limits) += 1;
      }
    }
  }
  return left;
}

}  // namespace switchyard::placement
