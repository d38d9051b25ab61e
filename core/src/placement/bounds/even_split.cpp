// SPDX-License-Identifier: Apache-2.0
#include "even_split.hpp"

#include <algorithm>
#include <limits>
#include <queue>
#include <vector>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::placement {

namespace {

struct Share {
  double load_per_replica;
  double load;
  std::int64_t replicas;
  bool operator<(Share const& other) const { return load_per_replica < other.load_per_replica; }
};

/// Fewest replicas of every expert that keep each replica at or below a limit.
class ReplicaCounts {
 public:
  ReplicaCounts(std::span<double const> load, double limit) : load_(load), count_(load.size(), 1) { lower_to(limit); }

  [[nodiscard]] double share(std::size_t expert) const { return load_[expert] / static_cast<double>(count_[expert]); }
  [[nodiscard]] std::int64_t total() const {
    std::int64_t sum = 0;
    for (auto const count : count_) {
      sum += count;
    }
    return sum;
  }

  /// The smallest limit at which some expert needs one replica less; infinity when all have one.
  [[nodiscard]] double next_limit() const {
    double next = std::numeric_limits<double>::infinity();
    for (std::size_t expert = 0; expert < load_.size(); ++expert) {
      if (count_[expert] > 1) {
        next = std::min(next, load_[expert] / static_cast<double>(count_[expert] - 1));
      }
    }
    return next;
  }

  void raise_to(double limit) {
    for (std::size_t expert = 0; expert < load_.size(); ++expert) {
      while (count_[expert] > 1 && load_[expert] / static_cast<double>(count_[expert] - 1) <= limit) {
        --count_[expert];
      }
    }
  }

 private:
  void lower_to(double limit) {
    for (std::size_t expert = 0; expert < load_.size(); ++expert) {
      while (share(expert) > limit) {
        ++count_[expert];
      }
    }
  }

  std::span<double const> load_;
  std::vector<std::int64_t> count_;
};

/// The least sum of the `wanted` smallest shares after `spare` more replicas. Every share is treated as one replica's,
/// which shrinks it faster than it can: v, v/2, v/3, ... The gain of each further replica falls, so taking the largest
/// gain first is exact for that relaxation.
double least_company(std::vector<double> shares, std::size_t wanted, std::int64_t spare) {
  wanted = std::min(wanted, shares.size() - 1);
  auto const end = shares.begin() + static_cast<std::ptrdiff_t>(wanted);
  std::partial_sort(shares.begin(), end, shares.end());
  struct Gain {
    double gain;
    double share;
    std::int64_t replicas;
    bool operator<(Gain const& other) const { return gain < other.gain; }
  };
  std::priority_queue<Gain> gains;
  double sum = 0;
  for (auto it = shares.begin(); it != end; ++it) {
    sum += *it;
    gains.push({*it / 2, *it, 1});
  }
  for (; spare > 0 && !gains.empty() && gains.top().gain > 0; --spare) {
    Gain best = gains.top();
    gains.pop();
    sum -= best.gain;
    ++best.replicas;
    auto const replicas = static_cast<double>(best.replicas);
    best.gain = best.share / (replicas * (replicas + 1));
    gains.push(best);
  }
  return std::max(0.0, sum);
}

}  // namespace

/// Giving each further slot to the expert with the highest load per replica reaches the minimum t: every expert got its
/// last slot while one slot less left it at t or above, so a smaller maximum would need at least as many slots for
/// every expert and one more for the expert at t.
double min_max_replica_load(std::span<double const> load, SlotSupply const& supply) {
  bool const room_for_all = supply.slots >= static_cast<std::int64_t>(load.size());
  std::priority_queue<Share> shares;
  for (double const expert_load : load) {
    if (room_for_all || expert_load > 0) {
      shares.push({expert_load, expert_load, 1});
    }
  }
  if (shares.empty()) {
    return 0;
  }
  for (auto spare = supply.slots - static_cast<std::int64_t>(shares.size());
       spare > 0 && shares.top().replicas < supply.max_replicas; --spare) {
    Share share = shares.top();
    shares.pop();
    ++share.replicas;
    share.load_per_replica = share.load / static_cast<double>(share.replicas);
    shares.push(share);
  }
  return shares.top().load_per_replica;
}

double min_largest_replica_rank(std::span<double const> load, SlotSupply const& supply, double floor) {
  double const largest_replica = min_max_replica_load(load, supply);
  double limit = largest_replica;
  if (limit <= 0 || supply.fewest_slots_of_rank <= 1 || load.size() < 2) {
    return limit;
  }
  ReplicaCounts counts(load, limit);
  double best = std::numeric_limits<double>::infinity();
  while (limit < best && best > floor) {
    std::vector<double> shares;
    for (std::size_t expert = 0; expert < load.size(); ++expert) {
      shares.push_back(counts.share(expert));
    }
    std::int64_t const spare = std::max<std::int64_t>(0, supply.slots - counts.total());
    best = std::min(best, limit + least_company(std::move(shares), to_size(supply.fewest_slots_of_rank - 1), spare));
    limit = counts.next_limit();
    counts.raise_to(limit);
  }
  return best > floor ? best : largest_replica;
}

}  // namespace switchyard::placement
