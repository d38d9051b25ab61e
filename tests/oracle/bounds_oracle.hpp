// SPDX-License-Identifier: Apache-2.0
/// Bounds by enumeration: what the flows and assignments of the library must equal on small instances.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace oracle {

using RankContents = std::vector<std::vector<int>>;  // [ranks] experts, -1 = empty

inline bool rank_holds(RankContents const& contents, std::size_t rank, int expert) {
  return std::find(contents[rank].begin(), contents[rank].end(), expert) != contents[rank].end();
}

/// The largest ratio load(S) / speed(ranks that hold an expert of S) over all sets S: the optimum of any split.
inline double split_optimum(std::vector<double> const& loads, RankContents const& contents,
                            std::vector<double> const& speeds) {
  double best = 0;
  for (unsigned set = 1; set < (1U << loads.size()); ++set) {
    double load = 0;
    for (std::size_t e = 0; e < loads.size(); ++e) load += (set >> e & 1U) != 0 ? loads[e] : 0;
    double speed = 0;
    for (std::size_t r = 0; r < contents.size(); ++r) {
      bool touched = false;
      for (int const e : contents[r]) touched = touched || (e >= 0 && (set >> e & 1U) != 0);
      speed += touched ? speeds[r] : 0;
    }
    if (load > 0) best = std::max(best, load / speed);
  }
  return best;
}

/// Experts of `wanted` that `held` lacks, each once.
inline int missing_experts(std::vector<int> wanted, std::vector<int> const& held) {
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  int missing = 0;
  for (int const e : wanted) missing += e >= 0 && std::find(held.begin(), held.end(), e) == held.end() ? 1 : 0;
  return missing;
}

/// Fewest fetches over all permutations of the ranks.
inline int fewest_fetches(RankContents const& before, RankContents const& after) {
  std::vector<std::size_t> names(before.size());
  std::iota(names.begin(), names.end(), std::size_t{0});
  int best = 1 << 30;
  do {
    int sum = 0;
    for (std::size_t r = 0; r < names.size(); ++r) sum += missing_experts(after[r], before[names[r]]);
    best = std::min(best, sum);
  } while (std::next_permutation(names.begin(), names.end()));
  return best;
}

/// The smallest possible largest number of sends of a rank, over every choice of senders.
class SenderSearch {
 public:
  SenderSearch(RankContents const& before, RankContents const& after, int experts) : sends_(before.size(), 0) {
    for (std::size_t to = 0; to < after.size(); ++to) {
      for (int e = 0; e < experts; ++e) {
        if (!rank_holds(after, to, e) || rank_holds(before, to, e)) continue;
        std::vector<std::size_t> senders;
        for (std::size_t from = 0; from < before.size(); ++from) {
          if (rank_holds(before, from, e)) senders.push_back(from);
        }
        if (!senders.empty()) choices_.push_back(senders);
      }
    }
  }

  int solve() {
    best_ = static_cast<int>(choices_.size());
    choose(0);
    return best_;
  }

 private:
  void choose(std::size_t fetch) {
    int const worst = *std::max_element(sends_.begin(), sends_.end());
    if (worst >= best_) return;
    if (fetch == choices_.size()) {
      best_ = worst;
      return;
    }
    for (std::size_t const from : choices_[fetch]) {
      ++sends_[from];
      choose(fetch + 1);
      --sends_[from];
    }
  }

  std::vector<std::vector<std::size_t>> choices_{};
  std::vector<int> sends_;
  int best_ = 0;
};

}  // namespace oracle
