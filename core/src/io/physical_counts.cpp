// SPDX-License-Identifier: Apache-2.0
#include "physical_counts.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::io {

void PhysicalCounts::add_step(std::size_t layers, std::span<double const> counts, std::span<std::int64_t const> map) {
  Step step;
  step.experts = to_size(std::max(*std::max_element(map.begin(), map.end()) + 1, std::int64_t{text_.num_experts}));
  cells_ += layers * step.experts;
  SWITCHYARD_REQUIRE(cells_ <= to_size(kMaxLoadCells), parse,
                     "{}: more than {} steps x layers x experts: split the recording", text_.name, kMaxLoadCells);
  step.loads.resize(layers * step.experts);
  std::size_t const slots = map.size() / layers;
  for (std::size_t i = 0; i < map.size(); ++i)
    if (map[i] >= 0) step.loads[i / slots * step.experts + to_size(map[i])] += counts[i];
  layers_ = layers;
  steps_.push_back(std::move(step));
}

ExpertLoad PhysicalCounts::load() const {
  std::size_t experts = 0;
  for (Step const& step : steps_) experts = std::max(experts, step.experts);
  require_load_sizes(text_, static_cast<std::int64_t>(steps_.size()), static_cast<std::int64_t>(layers_),
                     static_cast<std::int64_t>(experts));
  std::vector<double> values(steps_.size() * layers_ * experts);
  auto out = values.begin();
  for (Step const& step : steps_) {
    for (std::size_t layer = 0; layer < layers_; ++layer, out += static_cast<std::ptrdiff_t>(experts)) {
      auto const row = step.loads.begin() + static_cast<std::ptrdiff_t>(layer * step.experts);
      std::copy(row, row + static_cast<std::ptrdiff_t>(step.experts), out);
    }
  }
  for (double const value : values)
    SWITCHYARD_REQUIRE(is_load(value), parse, "{}: the replicas of an expert add up to {}: {}", text_.name, value,
                       kLoadRule);
  return {static_cast<int>(steps_.size()), static_cast<int>(layers_), static_cast<int>(experts), std::move(values)};
}

}  // namespace switchyard::io
