// SPDX-License-Identifier: Apache-2.0
#include "planning/transfer_matrix.hpp"

#include <algorithm>

namespace switchyard::cli {

TransferMatrix::TransferMatrix(RebalancePlan const& plan) : num_ranks_(plan.before.num_ranks()) {
  auto const ranks = static_cast<std::size_t>(num_ranks_);
  experts_.resize(ranks * ranks);
  for (LayerTransfers const& layer : plan.layers)
    for (std::size_t from = 0; from < layer.ranks.size(); ++from)
      for (ExpertSend const& send : layer.ranks[from].sends)
        ++experts_[from * ranks + static_cast<std::size_t>(send.to.value())];
}

std::int64_t TransferMatrix::at(int from, int to) const {
  return experts_[static_cast<std::size_t>(from) * static_cast<std::size_t>(num_ranks_) + static_cast<std::size_t>(to)];
}

std::vector<TransferMatrix::Link> TransferMatrix::links() const {
  std::vector<Link> links;
  for (int from = 0; from < num_ranks_; ++from)
    for (int to = 0; to < num_ranks_; ++to)
      if (at(from, to) > 0) links.push_back({from, to, at(from, to)});
  std::stable_sort(links.begin(), links.end(), [](Link const& a, Link const& b) { return a.experts > b.experts; });
  return links;
}

}  // namespace switchyard::cli
