// SPDX-License-Identifier: Apache-2.0
#include "vectors/moved_rows.hpp"

#include <utility>
#include <vector>

namespace switchyard::tools {

RegisteredWeights moved_rows(RebalancePlan const& plan, RankId rank, std::byte* base) {
  std::int64_t const rows = plan.before.layout().slots_of(rank);
  std::vector<std::vector<WeightTensor>> layers;
  for (int layer = 0; layer < plan.before.num_layers(); ++layer)
    layers.push_back({{base + layer * rows * kMovedRowBytes, kMovedRowBytes, kMovedRowBytes, rows}});
  return RegisteredWeights(std::move(layers));
}

}  // namespace switchyard::tools
