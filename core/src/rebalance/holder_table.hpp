// SPDX-License-Identifier: Apache-2.0
/// HolderTable: which ranks hold every expert of one placement layer, and in which row.
#pragma once

#include <span>
#include <vector>

#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/expert_placement.hpp"

namespace switchyard::rebalance {

/// A rank that has an expert, and the first of its rows that does.
struct Holder {
  RankId rank;
  LocalExpertId row;
};

/// The holders of every expert of one placement layer, ranks ascending, one entry per rank.
class HolderTable {
 public:
  HolderTable(ExpertPlacement const& placement, int layer) : offsets_(to_size(placement.num_experts()) + 1, 0) {
    for_each_holder(placement, layer, [&](ExpertId expert, Holder) { ++offsets_[expert.index() + 1]; });
    for (std::size_t expert = 1; expert < offsets_.size(); ++expert) {
      offsets_[expert] += offsets_[expert - 1];
    }
    holders_.resize(offsets_.back());
    std::vector<std::size_t> next(offsets_.begin(), offsets_.end() - 1);
    for_each_holder(placement, layer,
                    [&](ExpertId expert, Holder holder) { holders_[next[expert.index()]++] = holder; });
  }

  [[nodiscard]] std::span<Holder const> of(std::size_t expert) const {
    return std::span(holders_).subspan(offsets_[expert], offsets_[expert + 1] - offsets_[expert]);
  }

 private:
  template <typename Visit>
  static void for_each_holder(ExpertPlacement const& placement, int layer, Visit const& visit) {
    std::vector<RankId> last_rank(to_size(placement.num_experts()), RankId(-1));
    for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
      LocalExpertId row(0);
      for (ExpertId const expert : placement.rank_slots(layer, rank)) {
        if (expert.valid() && last_rank[expert.index()] != rank) {
          last_rank[expert.index()] = rank;
          visit(expert, Holder{rank, row});
        }
        ++row;
      }
    }
  }

  std::vector<std::size_t> offsets_;
  std::vector<Holder> holders_{};
};

}  // namespace switchyard::rebalance
