// SPDX-License-Identifier: Apache-2.0
/// RoundPorts: what is still free in the round that is being built.
#pragma once

#include <array>
#include <vector>

#include "switchyard/internal/to_size.hpp"
#include "tiers.hpp"

namespace switchyard::rebalance {

class RoundPorts {
 public:
  /// @param max_transfers of the whole round; 0 = no limit.
  RoundPorts(Tiers const& tiers, int num_ranks, int max_transfers)
      : tiers_(tiers), max_transfers_(max_transfers), sends_(to_size(num_ranks)), receives_(to_size(num_ranks)) {}

  void clear() {
    num_transfers_ = 0;
    sends_.assign(sends_.size(), {});
    receives_.assign(receives_.size(), {});
  }
  [[nodiscard]] bool full() const noexcept { return max_transfers_ > 0 && num_transfers_ >= max_transfers_; }
  [[nodiscard]] bool can_send(RankId rank, bool intra) const {
    return sends_[rank.index()][intra] < tiers_.capacity(intra);
  }
  [[nodiscard]] bool can_receive(RankId rank, bool intra) const {
    return receives_[rank.index()][intra] < tiers_.capacity(intra);
  }
  void take(RankId from, RankId to, bool intra) {
    ++num_transfers_;
    ++sends_[from.index()][intra];
    ++receives_[to.index()][intra];
  }

 private:
  Tiers const& tiers_;
  int max_transfers_;
  int num_transfers_ = 0;
  std::vector<std::array<int, 2>> sends_;  // [ranks][network, intra]
  std::vector<std::array<int, 2>> receives_;
};

}  // namespace switchyard::rebalance
