// SPDX-License-Identifier: Apache-2.0
/// The exact optimum of small placement problems: replica counts and placement together, by exhaustive search.
///
/// Problem: every expert gets one or more slots, no two on one rank; every slot is filled; a replica carries an even
/// share of its expert's load; the largest rank load is minimal. All ranks have equally many slots. The search goes
/// through every list of replica counts and fills rank after rank ("bin completion"): the largest replica left goes to
/// the next rank, joined by every set of others, as long as the rank stays below the best found and the ranks left
/// could still carry the rest below it. Up to 16 experts in practice.
///
/// Worked example: loads 4 2 on 2 ranks of 2 slots. Counts (2,2): both ranks hold both experts, 3 each. Counts (3,1)
/// and (1,3) repeat an expert on a rank. So 3.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace oracle {

class ExactPlacement {
 public:
  ExactPlacement(std::vector<double> loads, std::size_t ranks, std::size_t slots_per_rank)
      : loads_(std::move(loads)), ranks_(ranks), slots_per_rank_(slots_per_rank), counts_(loads_.size(), 1) {}

  /// @param upper an achieved value; the result is the optimum, or `upper` when nothing is lower.
  double solve(double upper) {
    best_ = upper;
    choose_counts(0, ranks_ * slots_per_rank_ - loads_.size());
    return best_;
  }
  /// Replica counts of the optimum; empty when `upper` was not improved.
  std::vector<int> const& counts() const { return best_counts_; }

 private:
  struct Item {
    double share;
    std::size_t expert;
    bool used;
  };

  void choose_counts(std::size_t expert, std::size_t spare) {
    if (expert == loads_.size()) {
      if (spare == 0) place_all();
      return;
    }
    for (std::size_t more = 0; more <= spare && more < ranks_; ++more) {
      counts_[expert] = static_cast<int>(more) + 1;
      if (loads_[expert] / counts_[expert] < best_) choose_counts(expert + 1, spare - more);
    }
    counts_[expert] = 1;
  }

  void place_all() {
    items_.clear();
    for (std::size_t e = 0; e < loads_.size(); ++e) {
      for (int c = 0; c < counts_[e]; ++c) items_.push_back({loads_[e] / counts_[e], e, false});
    }
    std::stable_sort(items_.begin(), items_.end(), [](Item const& a, Item const& b) { return a.share > b.share; });
    fill_rank(0, 0);
  }

  void fill_rank(std::size_t rank, double worst) {
    if (rank == ranks_) {
      if (worst < best_ * (1 - 1e-12)) {
        best_ = worst;
        best_counts_ = counts_;
      }
      return;
    }
    double rest = 0;
    for (Item const& item : items_) rest += item.used ? 0 : item.share;
    if (rest >= best_ * static_cast<double>(ranks_ - rank)) return;
    std::size_t first = 0;
    while (items_[first].used) ++first;
    chosen_.push_back(first);
    items_[first].used = true;
    add_others(rank, worst, first + 1, 1, items_[first].share);
    items_[first].used = false;
    chosen_.pop_back();
  }

  void add_others(std::size_t rank, double worst, std::size_t from, std::size_t held, double sum) {
    if (sum >= best_) return;
    if (held == slots_per_rank_) {
      std::vector<std::size_t> const mine = std::move(chosen_);
      chosen_.clear();
      fill_rank(rank + 1, std::max(worst, sum));
      chosen_ = mine;
      return;
    }
    for (std::size_t i = from; i < items_.size(); ++i) {
      if (items_[i].used || is_here(items_[i].expert)) continue;
      if (i > from && !items_[i - 1].used && items_[i - 1].expert == items_[i].expert) continue;
      chosen_.push_back(i);
      items_[i].used = true;
      add_others(rank, worst, i + 1, held + 1, sum + items_[i].share);
      items_[i].used = false;
      chosen_.pop_back();
    }
  }

  bool is_here(std::size_t expert) const {
    return std::any_of(chosen_.begin(), chosen_.end(), [&](std::size_t i) { return items_[i].expert == expert; });
  }

  std::vector<double> loads_;
  std::size_t ranks_;
  std::size_t slots_per_rank_;
  std::vector<int> counts_;
  std::vector<Item> items_{};
  std::vector<std::size_t> chosen_{};  // items of the rank being filled
  double best_ = 0;
  std::vector<int> best_counts_{};
};

}  // namespace oracle
