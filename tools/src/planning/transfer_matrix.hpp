// SPDX-License-Identifier: Apache-2.0
/// TransferMatrix: how many experts a move sends over every ordered pair of GPUs, all layers together.
#pragma once

#include <cstdint>
#include <vector>

#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard::cli {

class TransferMatrix {
 public:
  explicit TransferMatrix(RebalancePlan const& plan);

  [[nodiscard]] int num_ranks() const { return num_ranks_; }
  [[nodiscard]] std::int64_t at(int from, int to) const;

  struct Link {
    int from;
    int to;
    std::int64_t experts;
  };
  /// @return the pairs that carry something, most experts first, then (from, to) ascending.
  [[nodiscard]] std::vector<Link> links() const;

 private:
  int num_ranks_;
  std::vector<std::int64_t> experts_;  // [from][to]
};

}  // namespace switchyard::cli
