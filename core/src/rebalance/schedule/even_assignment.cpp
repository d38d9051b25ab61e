// SPDX-License-Identifier: Apache-2.0
#include "even_assignment.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::rebalance {
namespace {

class Balancer {
 public:
  Balancer(std::span<int const> group_of, CandidateGroups const& groups, int num_candidates)
      : group_of_(group_of),
        groups_(groups),
        chosen_(group_of.size(), -1),
        demands_of_(to_size(num_candidates)),
        via_(to_size(num_candidates)),
        candidate_seen_(to_size(num_candidates), 0),
        group_seen_(to_size(groups.num_groups()), 0) {
    start_greedily();
  }

  EvenAssignment run(int enough) {
    EvenAssignment result;
    int largest = find_largest();
    while (largest > enough) {
      int const busy = find_with(largest);
      if (busy < 0) {
        --largest;
      } else if (!relieve(busy, largest)) {
        result.witness = reached_;
        std::sort(result.witness.begin(), result.witness.end());
        break;
      }
    }
    result.largest = largest;
    result.chosen = std::move(chosen_);
    return result;
  }

 private:
  [[nodiscard]] int load(int candidate) const { return static_cast<int>(demands_of_[to_size(candidate)].size()); }
  [[nodiscard]] std::span<int const> candidates_of(int demand) const { return groups_.of(group_of_[to_size(demand)]); }

  void start_greedily() {
    std::vector<int> order(group_of_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return candidates_of(a).size() < candidates_of(b).size(); });
    for (int const demand : order) {
      auto const candidates = candidates_of(demand);
      give(demand,
           *std::min_element(candidates.begin(), candidates.end(), [&](int a, int b) { return load(a) < load(b); }));
    }
  }

  void give(int demand, int candidate) {
    chosen_[to_size(demand)] = candidate;
    demands_of_[to_size(candidate)].push_back(demand);
  }

  [[nodiscard]] int find_largest() const {
    int largest = 0;
    for (auto const& demands : demands_of_) largest = std::max(largest, static_cast<int>(demands.size()));
    return largest;
  }

  /// Candidates below `next_` are known to have less than the largest load.
  int find_with(int largest) {
    if (largest != level_) {
      level_ = largest;
      next_ = 0;
    }
    for (; next_ < static_cast<int>(demands_of_.size()); ++next_) {
      if (load(next_) == largest) return next_;
    }
    return -1;
  }

  /// Breadth-first over candidates that could take over; shifts one demand per hop of the path found.
  bool relieve(int busy, int largest) {
    ++epoch_;
    reached_.assign(1, busy);
    candidate_seen_[to_size(busy)] = epoch_;
    for (std::size_t head = 0; head < reached_.size(); ++head) {
      int const from = reached_[head];
      for (int const demand : demands_of_[to_size(from)]) {
        if (std::exchange(group_seen_[to_size(group_of_[to_size(demand)])], epoch_) == epoch_) continue;
        for (int const candidate : candidates_of(demand)) {
          if (std::exchange(candidate_seen_[to_size(candidate)], epoch_) == epoch_) continue;
          via_[to_size(candidate)] = demand;
          reached_.push_back(candidate);
          if (load(candidate) <= largest - 2) return shift(busy, candidate), true;
        }
      }
    }
    return false;
  }

  void shift(int busy, int last) {
    for (int candidate = last; candidate != busy;) {
      int const demand = via_[to_size(candidate)];
      int const giver = chosen_[to_size(demand)];
      auto& list = demands_of_[to_size(giver)];
      list.erase(std::find(list.begin(), list.end(), demand));
      give(demand, candidate);
      candidate = giver;
    }
  }

  std::span<int const> group_of_;
  CandidateGroups const& groups_;
  std::vector<int> chosen_;
  std::vector<std::vector<int>> demands_of_;  // [candidates]
  std::vector<int> via_;                      // the demand by which the search came to a candidate
  std::vector<int> candidate_seen_;
  std::vector<int> group_seen_;
  std::vector<int> reached_{};
  int epoch_ = 0;
  int level_ = -1;
  int next_ = 0;
};

}  // namespace

EvenAssignment assign_evenly(std::span<int const> group_of, CandidateGroups const& groups, int num_candidates,
                             int enough) {
  return Balancer(group_of, groups, num_candidates).run(enough);
}

}  // namespace switchyard::rebalance
