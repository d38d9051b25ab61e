// SPDX-License-Identifier: Apache-2.0
#include "replica_search.hpp"

#include <algorithm>
#include <numeric>

#include "trial_packer.hpp"

namespace switchyard::placement {

namespace {

using Replicas = std::vector<std::size_t>;

/// Hill climbing over replica counts, within one budget for all starts.
class ReplicaClimb {
 public:
  ReplicaClimb(Cluster const& cluster, SlotFigures& figures, std::int64_t work, double target)
      : cluster_(cluster), packer_(cluster, figures), work_left_(work), target_(target) {}

  void climb_from(Replicas replicas) {
    double now = pack(replicas);
    bool improved = true;
    while (improved && now > target_) {
      std::vector<std::size_t> const critical = packer_.hot_experts();
      improved = improve(replicas, now, critical) || improve(replicas, now, all_experts());
    }
    if (best_.empty() || now < best_value_) {
      best_ = std::move(replicas);
      best_value_ = now;
    }
  }

  [[nodiscard]] bool is_done() const { return work_left_ <= 0 || (!best_.empty() && best_value_ <= target_); }
  [[nodiscard]] Replicas const& best() const { return best_; }

 private:
  double pack(Replicas const& replicas) {
    work_left_ -= static_cast<std::int64_t>(cluster_.num_slots());
    return packer_.pack_base(replicas);
  }

  double pack_variant(std::size_t gains, std::size_t gives, double limit) {
    work_left_ -= static_cast<std::int64_t>(cluster_.num_slots());
    return packer_.pack_variant(gains, gives, limit);
  }

  /// Carries out the best move of one replica to one of `gainers`. @pre `replicas` was packed last, into `now`.
  bool improve(Replicas& replicas, double& now, std::vector<std::size_t> const& gainers) {
    double best = now;
    std::size_t best_gains = kNone;
    std::size_t best_gives = kNone;
    for (std::size_t const gains : gainers) {
      for (std::size_t gives = 0; gives < replicas.size() && work_left_ > 0; ++gives) {
        if (gives == gains || replicas[gives] < 2 || replicas[gains] >= cluster_.max_replicas()) {
          continue;
        }
        double const value = pack_variant(gains, gives, best);
        if (value < best) {
          best = value;
          best_gains = gains;
          best_gives = gives;
        }
      }
    }
    if (best_gains == kNone) {
      return false;
    }
    ++replicas[best_gains];
    --replicas[best_gives];
    now = packer_.pack_base(replicas);
    return true;
  }

  [[nodiscard]] std::vector<std::size_t> all_experts() const {
    std::vector<std::size_t> experts(cluster_.num_experts);
    std::iota(experts.begin(), experts.end(), std::size_t{0});
    return experts;
  }

  Cluster const& cluster_;
  TrialPacker packer_;
  std::int64_t work_left_;
  double target_;
  Replicas best_{};
  double best_value_ = 0;
};

/// The expert with the largest figure among those that `admits` and that can have another replica.
template <typename Admits>
std::size_t heaviest(SlotFigures& figures, Replicas const& replicas, Admits&& admits) {
  std::size_t best = kNone;
  for (std::size_t expert = 0; expert < replicas.size(); ++expert) {
    if (replicas[expert] < figures.max_replicas() - 1 && admits(expert) &&
        (best == kNone || figures.at(expert, replicas[expert]) > figures.at(best, replicas[best]))) {
      best = expert;
    }
  }
  return best;
}

/// One replica less for every expert that stays at or below `limit` without it; what is saved goes to experts that
/// never needed a second one. @return empty when nothing is saved.
Replicas with_limit(SlotFigures& figures, Replicas const& replicas, double limit) {
  Replicas fewer = replicas;
  std::size_t spare = 0;
  for (std::size_t expert = 0; expert < fewer.size(); ++expert) {
    while (fewer[expert] > 1 && figures.at(expert, fewer[expert] - 1) <= limit) {
      --fewer[expert];
      ++spare;
    }
  }
  std::vector<bool> is_single(fewer.size());
  for (std::size_t expert = 0; expert < fewer.size(); ++expert) {
    is_single[expert] = fewer[expert] == 1;
  }
  for (std::size_t left = spare; left > 0; --left) {
    std::size_t expert = heaviest(figures, fewer, [&](std::size_t e) { return is_single[e]; });
    expert = expert != kNone ? expert : heaviest(figures, fewer, [](std::size_t) { return true; });
    if (expert == kNone) {
      return {};
    }
    ++fewer[expert];
  }
  return spare > 0 ? fewer : Replicas{};
}

/// The limits at which some expert could do with one replica less, ascending, the first few.
std::vector<double> next_limits(SlotFigures& figures, Replicas const& replicas) {
  constexpr std::size_t kStarts = 8;
  std::vector<double> limits;
  for (std::size_t expert = 0; expert < replicas.size(); ++expert) {
    for (std::size_t count = replicas[expert]; count > 1; --count) {
      limits.push_back(figures.at(expert, count - 1));
    }
  }
  std::sort(limits.begin(), limits.end());
  limits.erase(std::unique(limits.begin(), limits.end()), limits.end());
  limits.resize(std::min(limits.size(), kStarts));
  return limits;
}

}  // namespace

std::vector<std::size_t> search_replicas(Cluster const& cluster, SlotFigures& figures,
                                         std::vector<std::size_t> const& replicas, std::int64_t work, double target) {
  ReplicaClimb climb(cluster, figures, work, target);
  climb.climb_from(replicas);
  for (double const limit : next_limits(figures, replicas)) {
    Replicas start = with_limit(figures, replicas, limit);
    if (climb.is_done()) {
      break;
    }
    if (!start.empty()) {
      climb.climb_from(std::move(start));
    }
  }
  return climb.best();
}

}  // namespace switchyard::placement
