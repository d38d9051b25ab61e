// SPDX-License-Identifier: Apache-2.0
/// assign_evenly(): gives every demand one of its candidates so that the busiest candidate has least to do.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace switchyard::rebalance {

/// Candidates of several groups in one pool; all demands of a group may choose from the same candidates.
class CandidateGroups {
 public:
  /// Starts a new group. @return its number.
  int add_group() {
    begin_.push_back(pool_.size());
    return static_cast<int>(begin_.size()) - 1;
  }
  /// Adds a candidate to the newest group.
  void add(int candidate) { pool_.push_back(candidate); }

  [[nodiscard]] int num_groups() const noexcept { return static_cast<int>(begin_.size()); }
  [[nodiscard]] std::span<int const> of(int group) const {
    auto const index = static_cast<std::size_t>(group);
    std::size_t const end = index + 1 < begin_.size() ? begin_[index + 1] : pool_.size();
    return std::span(pool_).subspan(begin_[index], end - begin_[index]);
  }

 private:
  std::vector<std::size_t> begin_{};
  std::vector<int> pool_{};
};

struct EvenAssignment {
  std::vector<int> chosen{};   ///< [demands]
  int largest = 0;             ///< demands of the busiest candidate
  std::vector<int> witness{};  ///< candidates, ascending: the demands that only they can serve force `largest`; empty
                               ///< when the search stopped at `enough`
};

/// @param group_of [demands]; every group has at least one candidate. @param enough stop when `largest` is not above
///        it: then the answer may not be the least, but something else is the bottleneck anyway.
/// @note exact: starts greedily (fewest candidates first, least loaded, lowest number) and shifts demands along
/// shortest
///       alternating paths away from the busiest candidates, until none can be relieved; then all candidates reachable
///       from it have at least largest - 1 demands each, none of which can leave the set (Hall's condition).
///       Deterministic.
[[nodiscard]] EvenAssignment assign_evenly(std::span<int const> group_of, CandidateGroups const& groups,
                                           int num_candidates, int enough = 0);

}  // namespace switchyard::rebalance
