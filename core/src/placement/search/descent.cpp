// SPDX-License-Identifier: Apache-2.0
#include "descent.hpp"

#include <algorithm>
#include <vector>

#include "change.hpp"

namespace switchyard::placement {

namespace {

/// A change must cool by more than rounding, so that the search ends.
constexpr double kLeastGain = 1e-12;
constexpr std::size_t kCycleRanks = 8;

class Descent {
 public:
  Descent(LayerState& state, DescentOptions const& options)
      : state_(state),
        cluster_(state.cluster()),
        options_(options),
        cycle_scans_left_(options.max_cycle_scans),
        peaks_(cluster_.num_experts),
        peaks_step_(cluster_.num_experts, 0) {
    filled_ =
        cluster_.num_slots() - static_cast<std::size_t>(std::count(state.slots().begin(), state.slots().end(), kNone));
  }

  int run() {
    int steps = 0;
    while (steps < options_.max_steps && step()) {
      ++steps;
    }
    return steps;
  }

 private:
  bool step() {
    ++step_;
    hot_ = state_.hottest();
    if (state_.value(hot_) <= options_.target) {
      return false;
    }
    best_ = Change{};
    best_.value = state_.value(hot_) * (1 - kLeastGain);
    try_exchanges();
    try_more_replicas();
    try_fewer_replicas();
    if (best_.kind == Change::Kind::none && cycle_scans_left_ > 0 && !cluster_.has_node_limits()) {
      --cycle_scans_left_;
      try_cycles();
    }
    if (best_.kind == Change::Kind::none) {
      return false;
    }
    count_filled();
    apply(state_, best_);
    return true;
  }

  void count_filled() {
    if (best_.kind == Change::Kind::retarget) {
      filled_ += state_.expert_at(best_.slot) == kNone ? 1U : 0U;
      filled_ -= best_.expert == kNone ? 1U : 0U;
    }
  }

  [[nodiscard]] std::size_t begin_of(std::size_t rank) const { return cluster_.first_slot[rank]; }
  [[nodiscard]] std::size_t end_of(std::size_t rank) const { return cluster_.first_slot[rank + 1]; }
  [[nodiscard]] double value_with(std::size_t rank, double gain) const {
    return (state_.sum(rank) + gain) / cluster_.speed[rank];
  }

  void try_exchanges() {
    for (std::size_t slot = begin_of(hot_); slot < end_of(hot_); ++slot) {
      double const share = state_.share(state_.expert_at(slot));
      for (std::size_t const rank : cluster_.live) {
        if (rank != hot_) {
          try_exchanges_with(slot, share, rank);
        }
      }
    }
  }

  void try_exchanges_with(std::size_t slot, double share, std::size_t rank) {
    for (std::size_t other = begin_of(rank); other < end_of(rank); ++other) {
      double const given = share - state_.share(state_.expert_at(other));
      if (given <= 0) {
        continue;
      }
      double const value = std::max(value_with(hot_, -given), value_with(rank, given));
      if (value < best_.value && state_.may_swap(slot, other)) {
        best_ = Change{Change::Kind::exchange, slot, other, kNone, kNone, value};
      }
    }
  }

  /// Whether the warmest rank that loses part of a shared load stays too warm: a look at one rank that spares most
  /// looks at all of them. Ranks that hold `expert` as well cool and are left to the full count.
  bool is_too_warm_elsewhere(std::size_t slot, std::size_t expert) {
    std::size_t const old = state_.expert_at(slot);
    if (old == kNone || state_.replicas(old) < 2) {
      return false;
    }
    LossPeaks const& peaks = peaks_of(old);
    bool const is_own = peaks.first_rank == cluster_.rank_of_slot[slot];
    double const peak = is_own ? peaks.second : peaks.first;
    std::size_t const rank = is_own ? peaks.second_rank : peaks.first_rank;
    return rank != kNone && peak >= best_.value && (expert == kNone || !state_.holds(rank, expert));
  }

  /// Computed once per step.
  LossPeaks const& peaks_of(std::size_t expert) {
    if (peaks_step_[expert] != step_) {
      peaks_step_[expert] = step_;
      peaks_[expert] = loss_peaks(state_, expert);
    }
    return peaks_[expert];
  }

  void try_retarget(std::size_t slot, std::size_t expert, double at_least) {
    if (is_too_warm_elsewhere(slot, expert) || value_of_rank_after_retarget(state_, slot, expert) >= best_.value ||
        !may_retarget(state_, slot, expert, filled_, options_.slots_to_fill)) {
      return;
    }
    double const value = std::max(at_least, value_after_retarget(state_, slot, expert, best_.value));
    if (value < best_.value) {
      best_ = Change{Change::Kind::retarget, slot, kNone, kNone, expert, value};
    }
  }

  /// An expert of the hottest rank gets a replica elsewhere.
  void try_more_replicas() {
    for (std::size_t const expert : state_.experts_on(hot_)) {
      if (expert == kNone || state_.replicas(expert) >= cluster_.max_replicas()) {
        continue;
      }
      double const joined = state_.figure_with(expert, state_.replicas(expert) + 1);
      double const hot_value = value_with(hot_, joined - state_.share(expert));
      for (std::size_t const rank : cluster_.live) {
        if (hot_value >= best_.value || state_.holds(rank, expert)) {
          continue;
        }
        for (std::size_t slot = begin_of(rank); slot < end_of(rank); ++slot) {
          std::size_t const old = state_.expert_at(slot);
          bool const is_single = old != kNone && state_.replicas(old) < 2;
          if (!is_single && value_with(rank, joined - state_.share(old)) < best_.value) {
            try_retarget(slot, expert, hot_value);
          }
        }
      }
    }
  }

  /// The hottest rank gives up a replica for another expert's, or for nothing.
  void try_fewer_replicas() {
    for (std::size_t slot = begin_of(hot_); slot < end_of(hot_); ++slot) {
      std::size_t const old = state_.expert_at(slot);
      if (old == kNone || state_.replicas(old) < 2) {
        continue;
      }
      for (std::size_t expert = 0; expert < cluster_.num_experts; ++expert) {
        if (expert != old && state_.replicas(expert) < cluster_.max_replicas()) {
          try_retarget(slot, expert, 0);
        }
      }
      if (options_.may_empty) {
        try_retarget(slot, kNone, 0);
      }
    }
  }

  [[nodiscard]] std::vector<std::size_t> coldest_ranks() const {
    std::vector<std::size_t> ranks = cluster_.live;
    std::size_t const wanted = std::min(kCycleRanks, ranks.size());
    std::partial_sort(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(wanted), ranks.end(),
                      [&](std::size_t a, std::size_t b) {
                        return state_.value(a) < state_.value(b) || (state_.value(a) == state_.value(b) && a < b);
                      });
    ranks.resize(wanted);
    std::erase(ranks, hot_);
    return ranks;
  }

  /// a (hottest) -> b's slot, b -> c's slot, c -> a's slot.
  void try_cycles() {
    auto const ranks = coldest_ranks();
    for (std::size_t slot = begin_of(hot_); slot < end_of(hot_); ++slot) {
      for (std::size_t const second_rank : ranks) {
        for (std::size_t second = begin_of(second_rank); second < end_of(second_rank); ++second) {
          double const gain = state_.share(state_.expert_at(slot)) - state_.share(state_.expert_at(second));
          if (value_with(second_rank, gain) < best_.value && may_take(second_rank, state_.expert_at(slot))) {
            try_third(slot, second, ranks);
          }
        }
      }
    }
  }

  [[nodiscard]] bool may_take(std::size_t rank, std::size_t expert) const {
    return expert == kNone || !state_.holds(rank, expert);
  }

  void try_third(std::size_t slot, std::size_t second, std::vector<std::size_t> const& ranks) {
    std::size_t const a = state_.expert_at(slot);
    std::size_t const b = state_.expert_at(second);
    std::size_t const second_rank = cluster_.rank_of_slot[second];
    double const second_value = value_with(second_rank, state_.share(a) - state_.share(b));
    for (std::size_t const rank : ranks) {
      if (rank == second_rank || !may_take(rank, b)) {
        continue;
      }
      for (std::size_t third = begin_of(rank); third < end_of(rank); ++third) {
        std::size_t const c = state_.expert_at(third);
        double const value = std::max({second_value, value_with(hot_, state_.share(c) - state_.share(a)),
                                       value_with(rank, state_.share(b) - state_.share(c))});
        if (value < best_.value && may_take(hot_, c)) {
          best_ = Change{Change::Kind::cycle, slot, second, third, kNone, value};
        }
      }
    }
  }

  LayerState& state_;
  Cluster const& cluster_;
  DescentOptions options_;
  int cycle_scans_left_;
  std::size_t filled_ = 0;
  std::size_t hot_ = 0;
  Change best_{};
  int step_ = 0;
  std::vector<LossPeaks> peaks_;  // [experts] valid where peaks_step_ is step_
  std::vector<int> peaks_step_;   // [experts]
};

}  // namespace

int descend(LayerState& state, DescentOptions const& options) {
  return Descent(state, options).run();
}

}  // namespace switchyard::placement
