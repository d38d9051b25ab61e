// SPDX-License-Identifier: Apache-2.0
/// Oracle of vllm-ascend's Swift balancer for one layer, in plain loops over a table [ranks][slots]. Written from its
/// description; no code of the library.
///
/// Worked example, loads 8 2 1 1 on two ranks `0 1 2 | 3 0 1`: primaries, slot by slot over the ranks, are 0 and 3 in
/// the first slots, 1 in rank 0's second, 2 in rank 0's third; rank 1's slots two and three are free. The first replica
/// goes to expert 0 (8 becomes 8*2/3); it is on both ranks then, so the second goes to expert 1 (2 becomes 4/3). Rank 1
/// may take one expert from rank 0, expert 0; its last slot is filled regardless of that limit: shares are now 4 2 1 1,
/// so with expert 1. The placement is what it was.
#pragma once

#include <cstddef>
#include <vector>

namespace oracle {

struct SwiftResult {
  std::vector<std::vector<int>> experts{};  ///< [ranks], ascending
  double peak = 0;
};

class SwiftOracle {
 public:
  SwiftOracle(std::vector<double> loads, std::vector<std::vector<int>> const& table, double swap_threshold)
      : loads_(std::move(loads)),
        ranks_(table.size()),
        threshold_(swap_threshold),
        has_(ranks_, none()),
        locked_(ranks_, none()),
        slots_(ranks_),
        free_(ranks_, 0),
        home_(loads_.size(), ranks_),
        share_(loads_.size(), 0.0F),
        sum_(ranks_, 0.0F),
        sent_(ranks_, std::vector<int>(ranks_, 0)) {
    for (std::size_t i = 0; i < table[0].size(); ++i)
      for (std::size_t r = 0; r < ranks_; ++r) {
        auto const e = static_cast<std::size_t>(table[r][i]);
        if (home_[e] == ranks_) {
          home_[e] = r;
          has_[r][e] = true;
          slots_[r].push_back(table[r][i]);
        } else {
          ++free_[r];
          slots_[r].push_back(-1);
        }
      }
  }

  SwiftResult run() {
    hand_out();
    bool incomplete = false;
    for (int const slots : free_) incomplete = incomplete || slots > 0;
    if (incomplete) fill();
    SwiftResult result;
    bool changed = true;
    for (int round = 0; round < 100; ++round) {
      std::size_t hot = 0;
      for (std::size_t r = 0; r < ranks_; ++r)
        if (sum_[r] >= sum_[hot]) hot = r;
      result.peak = sum_[hot];
      if (!changed) break;
      changed = swap_once(hot);
    }
    for (auto const& row : has_) {
      result.experts.emplace_back();
      for (std::size_t e = 0; e < row.size(); ++e)
        if (row[e]) result.experts.back().push_back(static_cast<int>(e));
    }
    return result;
  }

 private:
  [[nodiscard]] std::vector<bool> none() const { return std::vector<bool>(loads_.size(), false); }

  /// The last of the largest among the experts that `allowed` admits.
  template <typename Value, typename Allowed>
  static std::size_t largest(std::vector<Value> const& values, Allowed const& allowed) {
    std::size_t best = values.size();
    for (std::size_t e = 0; e < values.size(); ++e)
      if (allowed(e) && (best == values.size() || values[e] >= values[best])) best = e;
    return best;
  }

  void hand_out() {
    std::vector<double> value = loads_;
    std::vector<int> copies(loads_.size(), 1);
    int spare = 0;
    for (int const slots : free_) spare += slots;
    while (spare-- > 0) {
      auto const e = largest(value, [&](std::size_t x) { return copies[x] < static_cast<int>(ranks_); });
      if (e == value.size()) break;
      value[e] = value[e] * (copies[e] + 1) / (copies[e] + 2);
      ++copies[e];
    }
    for (std::size_t e = 0; e < value.size(); ++e) share_[e] = static_cast<float>(value[e]);
    add_up();
    std::vector<int> left = copies;
    for (;;) {  // the next replica by falling share, then ascending expert
      std::size_t e = value.size();
      for (std::size_t x = 0; x < value.size(); ++x)
        if (left[x] > 1 && (e == value.size() || share_[x] > share_[e])) e = x;
      if (e == value.size()) return;
      --left[e];
      std::size_t to = ranks_;
      for (std::size_t r = 0; r < ranks_; ++r)
        if (free_[r] > 0 && !has_[r][e] && sent_[home_[e]][r] < 1 && (to == ranks_ || sum_[r] < sum_[to])) to = r;
      if (to == ranks_) continue;
      std::size_t slot = slots_[to].size();
      while (slots_[to][--slot] != -1) {
      }
      take(to, slot, e);
      sum_[to] += share_[e];
    }
  }

  /// A rank's shares in the order of its slots.
  void add_up() {
    for (std::size_t r = 0; r < ranks_; ++r) {
      sum_[r] = 0;
      for (int const e : slots_[r])
        if (e >= 0) sum_[r] += share_[static_cast<std::size_t>(e)];
    }
  }

  void take(std::size_t rank, std::size_t slot, std::size_t e) {
    slots_[rank][slot] = static_cast<int>(e);
    --free_[rank];
    has_[rank][e] = locked_[rank][e] = true;
    ++sent_[home_[e]][rank];
  }

  void fill() {
    std::vector<int> copies(loads_.size(), 0);
    for (auto const& row : has_)
      for (std::size_t e = 0; e < row.size(); ++e) copies[e] += row[e] ? 1 : 0;
    for (std::size_t e = 0; e < copies.size(); ++e) share_[e] = static_cast<float>(loads_[e] / copies[e]);
    for (std::size_t r = 0; r < ranks_; ++r)
      for (std::size_t slot = 0; slot < slots_[r].size(); ++slot) {
        if (slots_[r][slot] != -1) continue;
        auto const e = largest(share_, [&](std::size_t x) { return !has_[r][x]; });
        take(r, slot, e);
        double const factor = static_cast<double>(copies[e]) / (copies[e] + 1);
        share_[e] = static_cast<float>(share_[e] * factor);
        ++copies[e];
      }
    add_up();
  }

  bool swap_once(std::size_t hot) {
    std::vector<bool> tried(ranks_, false);
    tried[hot] = true;
    for (std::size_t n = 1; n < ranks_; ++n) {  // the others, lightest first, the lowest of equals
      std::size_t other = ranks_;
      for (std::size_t r = 0; r < ranks_; ++r)
        if (!tried[r] && (other == ranks_ || sum_[r] < sum_[other])) other = r;
      tried[other] = true;
      if (sent_[hot][other] < 1 && sent_[other][hot] < 1 && swap_with(hot, other)) return true;
    }
    return false;
  }

  bool swap_with(std::size_t hot, std::size_t other) {
    double best = sum_[hot];
    std::size_t give = loads_.size();
    std::size_t get = loads_.size();
    for (std::size_t a = 0; a < loads_.size(); ++a)
      for (std::size_t b = 0; b < loads_.size(); ++b) {
        bool const can_give = has_[hot][a] && !has_[other][a] && !locked_[hot][a];
        bool const can_get = has_[other][b] && !has_[hot][b] && !locked_[other][b];
        if (!can_give || !can_get) continue;
        double const x = static_cast<double>(sum_[hot]) - share_[a] + share_[b];
        double const y = static_cast<double>(sum_[other]) - share_[b] + share_[a];
        double const peak = x > y ? x : y;
        if (peak < best) {
          best = peak;
          give = a;
          get = b;
        }
      }
    if (give == loads_.size() || sum_[hot] - best < threshold_) return false;
    has_[hot][give] = has_[other][get] = false;
    has_[hot][get] = has_[other][give] = true;
    locked_[hot][get] = locked_[other][give] = true;
    sum_[hot] += share_[get] - share_[give];
    sum_[other] += share_[give] - share_[get];
    ++sent_[hot][other];
    ++sent_[other][hot];
    return true;
  }

  std::vector<double> loads_;
  std::size_t ranks_;
  double threshold_;
  std::vector<std::vector<bool>> has_;
  std::vector<std::vector<bool>> locked_;
  std::vector<std::vector<int>> slots_;  // before swaps
  std::vector<int> free_;
  std::vector<std::size_t> home_;
  std::vector<float> share_;
  std::vector<float> sum_;
  std::vector<std::vector<int>> sent_;
};

}  // namespace oracle
