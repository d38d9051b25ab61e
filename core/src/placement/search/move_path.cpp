// SPDX-License-Identifier: Apache-2.0
#include "move_path.hpp"

#include <algorithm>
#include <vector>

#include "change.hpp"

namespace switchyard::placement {

namespace {

/// How much the distance from the level counts beside excess: enough to prefer pairing a hot rank with an equally cold
/// one among changes that remove the same excess.
constexpr double kSquareWeight = 0.5;
/// A change must buy more than rounding.
constexpr double kLeastGain = 1e-12;
/// Changes that the caps refuse before a path gives up.
constexpr std::size_t kMaxRefused = 32;

class MovePath {
 public:
  MovePath(LayerState& state, FetchCount& fetches, MovePathOptions const& options)
      : state_(state),
        fetches_(fetches),
        cluster_(state.cluster()),
        options_(options),
        scaled_threshold_(options.threshold / options.level),
        scale_(cluster_.num_ranks(), 0),
        penalty_now_(cluster_.num_ranks(), 0) {
    filled_ =
        cluster_.num_slots() - static_cast<std::size_t>(std::count(state.slots().begin(), state.slots().end(), kNone));
    for (std::size_t const rank : cluster_.live) {
      scale_[rank] = 1 / (cluster_.speed[rank] * options.level);
    }
  }

  void run(FetchFilter const& allows, PathObserver const& observe) {
    for (std::int64_t step = 0; step < options_.max_steps; ++step) {
      hot_ = state_.hottest();
      if (state_.value(hot_) <= options_.threshold || !take_best(allows)) {
        return;
      }
      observe(state_, fetches_);
    }
  }

 private:
  struct Candidate {
    Change change{};
    double gain_per_fetch = 0;
  };

  bool take_best(FetchFilter const& allows) {
    refused_.clear();
    while (refused_.size() <= kMaxRefused) {
      best_ = Candidate{};
      note_penalties();
      limit_ = state_.value(hot_) * (1 - kLeastGain);
      look_at_exchanges();
      look_at_replicas();
      if (best_.change.kind == Change::Kind::none) {
        return false;
      }
      if (try_change(best_.change, allows)) {
        return true;
      }
      refused_.push_back(best_.change);
    }
    return false;
  }

  bool try_change(Change const& change, FetchFilter const& allows) {
    std::size_t const old = state_.expert_at(change.slot);
    fetches_.add(state_, change);
    apply(state_, change);
    if (!allows || allows(state_, fetches_)) {
      if (change.kind == Change::Kind::retarget) {
        filled_ += old == kNone ? 1U : 0U;
        filled_ -= change.expert == kNone ? 1U : 0U;
      }
      return true;
    }
    Change undo = change;
    undo.expert = old;
    fetches_.add(state_, undo);
    apply(state_, undo);
    return false;
  }

  /// A rank's figure as a multiple of the level, when its slots' figures change by `gain`.
  [[nodiscard]] double scaled(std::size_t rank, double gain) const { return (state_.sum(rank) + gain) * scale_[rank]; }
  [[nodiscard]] double penalty(double scaled_value) const {
    double const distance = scaled_value - 1;
    return std::max(0.0, scaled_value - scaled_threshold_) + kSquareWeight * distance * distance;
  }
  [[nodiscard]] double relief(std::size_t rank, double gain) const {
    return penalty_now_[rank] - penalty(scaled(rank, gain));
  }
  void note_penalties() {
    for (std::size_t const rank : cluster_.live) {
      penalty_now_[rank] = penalty(scaled(rank, 0));
    }
  }

  [[nodiscard]] bool is_refused(Change const& change) const {
    return std::any_of(refused_.begin(), refused_.end(), [&](Change const& other) {
      return other.kind == change.kind && other.slot == change.slot && other.other == change.other &&
             other.expert == change.expert;
    });
  }

  /// Compares per fetch; a change that fetches nothing counts as half a fetch.
  [[nodiscard]] double per_fetch(double gain, std::int64_t added) const {
    return added > 0 ? gain / static_cast<double>(added) : 2 * gain;
  }

  void look_at_exchanges() {
    double const hot_value = state_.value(hot_);
    for (std::size_t slot = cluster_.first_slot[hot_]; slot < cluster_.first_slot[hot_ + 1]; ++slot) {
      std::size_t const expert = state_.expert_at(slot);
      for (std::size_t const rank : cluster_.live) {
        if (rank != hot_ && state_.value(rank) < hot_value) {
          look_at_exchanges_with(slot, expert, rank);
        }
      }
    }
  }

  void look_at_exchanges_with(std::size_t slot, std::size_t expert, std::size_t rank) {
    double const scaled_limit = limit_ / options_.level;
    double const share = state_.share(expert);
    for (std::size_t other = cluster_.first_slot[rank]; other < cluster_.first_slot[rank + 1]; ++other) {
      std::size_t const back = state_.expert_at(other);
      double const given = share - state_.share(back);
      if (given <= 0 || scaled(rank, given) >= scaled_limit) {
        continue;
      }
      double const gain = relief(hot_, -given) + relief(rank, given);
      if (2 * gain <= best_.gain_per_fetch) {
        continue;
      }
      std::int64_t const added = fetches_.added(hot_, expert, back) + fetches_.added(rank, back, expert);
      consider({Change::Kind::exchange, slot, other, kNone, kNone, 0}, gain, added);
    }
  }

  void consider(Change const& change, double gain, std::int64_t added) {
    double const score = per_fetch(gain, added);
    if (score <= std::max(best_.gain_per_fetch, kLeastGain) || fetches_.total() + added > options_.max_fetches) {
      return;
    }
    bool const is_legal = change.kind == Change::Kind::exchange
                              ? state_.may_swap(change.slot, change.other)
                              : may_retarget(state_, change.slot, change.expert, filled_, options_.slots_to_fill);
    if (is_legal && !is_refused(change)) {
      best_ = {change, score};
    }
  }

  /// Replicas that move between experts and touch the hottest rank.
  void look_at_replicas() {
    for (std::size_t const rank : cluster_.live) {
      for (std::size_t slot = cluster_.first_slot[rank]; slot < cluster_.first_slot[rank + 1]; ++slot) {
        std::size_t const old = state_.expert_at(slot);
        if (old != kNone && state_.replicas(old) < 2) {
          continue;
        }
        if (rank == hot_) {
          look_at_newcomers(slot);
        } else {
          look_at_hot_experts(slot);
        }
      }
    }
  }

  void look_at_hot_experts(std::size_t slot) {
    for (std::size_t const expert : state_.experts_on(hot_)) {
      if (expert != kNone) {
        look_at_retarget(slot, expert);
      }
    }
  }

  void look_at_newcomers(std::size_t slot) {
    for (std::size_t expert = 0; expert < cluster_.num_experts; ++expert) {
      look_at_retarget(slot, expert);
    }
    if (options_.may_empty) {
      look_at_retarget(slot, kNone);
    }
  }

  void look_at_retarget(std::size_t slot, std::size_t expert) {
    std::size_t const old = state_.expert_at(slot);
    std::size_t const rank = cluster_.rank_of_slot[slot];
    if (expert == old ||
        (expert != kNone && (state_.replicas(expert) >= cluster_.max_replicas() || state_.holds(rank, expert)))) {
      return;
    }
    double const joined = expert == kNone ? 0 : state_.figure_with(expert, state_.replicas(expert) + 1);
    if ((state_.sum(rank) - state_.share(old) + joined) / cluster_.speed[rank] >= limit_) {
      return;
    }
    double const fall = state_.share(expert) - joined;
    double const rise = old == kNone ? 0 : state_.figure_with(old, state_.replicas(old) - 1) - state_.share(old);
    double gain = relief(rank, joined - state_.share(old));
    if (expert != kNone) {
      for (std::size_t const holder_slot : state_.slots_of(expert)) {
        std::size_t const holder = cluster_.rank_of_slot[holder_slot];
        gain += relief(holder, -fall);
      }
    }
    if (old != kNone) {
      for (std::size_t const holder_slot : state_.slots_of(old)) {
        std::size_t const holder = cluster_.rank_of_slot[holder_slot];
        if (holder_slot == slot) {
          continue;
        }
        bool const holds_both = expert != kNone && state_.holds(holder, expert);
        gain += holds_both ? relief(holder, rise - fall) - relief(holder, -fall) : relief(holder, rise);
      }
    }
    if (2 * gain > best_.gain_per_fetch && value_after_retarget(state_, slot, expert, limit_) < limit_) {
      consider({Change::Kind::retarget, slot, kNone, kNone, expert, 0}, gain, fetches_.added(rank, old, expert));
    }
  }

  LayerState& state_;
  FetchCount& fetches_;
  Cluster const& cluster_;
  MovePathOptions options_;
  double scaled_threshold_;
  std::vector<double> scale_;        // [ranks]
  std::vector<double> penalty_now_;  // [ranks]
  std::size_t filled_ = 0;
  std::size_t hot_ = 0;
  double limit_ = 0;
  Candidate best_{};
  std::vector<Change> refused_{};
};

}  // namespace

void follow_path(LayerState& state, FetchCount& fetches, MovePathOptions const& options, FetchFilter const& allows,
                 PathObserver const& observe) {
  MovePath(state, fetches, options).run(allows, observe);
}

}  // namespace switchyard::placement
