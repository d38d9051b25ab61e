// SPDX-License-Identifier: Apache-2.0
/// SwiftLayer: one layer of vllm-ascend's Swift balancer.
#pragma once

#include <cstddef>
#include <set>
#include <span>
#include <vector>

#include "switchyard/placement/expert_placement.hpp"

namespace switchyard::placement {

/// The balancer's constants.
struct SwiftLimits {
  int max_transfers_per_pair = 1;  ///< of one ordered pair of ranks
  int max_swaps = 100;
  double swap_threshold = 0;  ///< a swap must lower the hottest rank by at least this
};

/// Plans one layer from its current slots: primaries stay, the other slots are handed out anew, then swaps.
///
/// An expert's primary is its first slot in the order (slot of the rank, rank). Shares are float32 and follow the
/// original's arithmetic, which counts a second replica as 2/3 of the load, a third as 3/4 of that, and so on.
class SwiftLayer {
 public:
  SwiftLayer(std::span<double const> loads, std::span<ExpertId const> slots, std::size_t num_ranks,
             SwiftLimits const& limits);

  /// @return the hottest rank's load as the original sees it at the end: before the last swap, if all were used.
  double plan();
  /// @return the experts of `rank`, ascending.
  [[nodiscard]] std::set<ExpertId> const& experts_of(std::size_t rank) const { return held_.at(rank); }

 private:
  struct Swap {
    ExpertId from_hot{-1};
    ExpertId from_other{-1};
    double larger = 0;
  };

  void find_primaries();
  [[nodiscard]] std::vector<ExpertId> redundant_experts();
  void place_redundant();
  void fill_free_slots();
  [[nodiscard]] std::size_t lightest_rank_for(ExpertId expert) const;
  void give(std::size_t rank, std::size_t slot, ExpertId expert);
  void add_up_ranks();
  [[nodiscard]] std::span<ExpertId> slots_of(std::size_t rank) {
    return std::span(slots_).subspan(rank * slots_per_rank_, slots_per_rank_);
  }
  [[nodiscard]] std::vector<std::size_t> ranks_by_load() const;
  [[nodiscard]] Swap best_swap(std::size_t hot, std::size_t other) const;
  [[nodiscard]] bool try_swap(std::size_t hot, std::size_t other);
  [[nodiscard]] int& transfers(std::size_t from, std::size_t to) { return transfers_[from * held_.size() + to]; }
  [[nodiscard]] int transfers(std::size_t from, std::size_t to) const { return transfers_[from * held_.size() + to]; }

  std::span<double const> loads_;
  std::size_t slots_per_rank_;
  std::vector<ExpertId> slots_;  // before swaps; kNoExpert while free
  SwiftLimits limits_;
  std::vector<std::set<ExpertId>> held_;      // [ranks]
  std::vector<std::set<ExpertId>> received_;  // [ranks] experts that must not leave again
  std::vector<std::size_t> free_slots_;       // [ranks]
  std::vector<std::size_t> primary_;          // [experts] rank
  std::vector<float> share_;                  // [experts]
  std::vector<float> rank_load_;              // [ranks]
  std::vector<int> transfers_;                // [ranks * ranks]
};

}  // namespace switchyard::placement
