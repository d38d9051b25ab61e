// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/expert_load.hpp"

#include <cmath>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {

namespace {

void require_loads(std::vector<double> const& values, int num_layers, int num_experts) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    auto const layers = to_size(num_layers);
    auto const experts = to_size(num_experts);
    SWITCHYARD_REQUIRE(
        std::isfinite(values[i]) && values[i] >= 0, invalid_argument,
        "load {} of expert {} in layer {}, step {}: loads are token counts, so they must be finite and not negative",
        values[i], i % experts, i / experts % layers, i / experts / layers);
  }
}

}  // namespace

ExpertLoad::ExpertLoad(int num_steps, int num_layers, int num_experts, std::vector<double> values)
    : num_steps_(num_steps), num_layers_(num_layers), num_experts_(num_experts), values_(std::move(values)) {
  SWITCHYARD_REQUIRE(num_steps >= 1 && num_layers >= 1 && num_experts >= 1, invalid_argument,
                     "expert load of {} steps x {} layers x {} experts: each size must be at least 1", num_steps,
                     num_layers, num_experts);
  auto const expected = checked_mul(checked_mul(num_steps, num_layers), num_experts);
  SWITCHYARD_REQUIRE(values_.size() == to_size(expected), shape_mismatch,
                     "expert load of {} steps x {} layers x {} experts needs {} values, got {}", num_steps, num_layers,
                     num_experts, expected, values_.size());
  require_loads(values_, num_layers, num_experts);
}

std::span<double const> ExpertLoad::at(int step, int layer) const {
  SWITCHYARD_REQUIRE(step >= 0 && step < num_steps_ && layer >= 0 && layer < num_layers_, invalid_argument,
                     "step {}, layer {} is outside the load's {} steps x {} layers", step, layer, num_steps_,
                     num_layers_);
  auto const experts = to_size(num_experts_);
  auto const row = to_size(step) * to_size(num_layers_) + to_size(layer);
  return std::span(values_).subspan(row * experts, experts);
}

ExpertLoad ExpertLoad::summed() const {
  if (num_steps_ <= 1) {
    return *this;
  }
  auto const per_step = to_size(num_layers_) * to_size(num_experts_);
  std::vector<double> sums(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(per_step));
  for (std::size_t i = per_step; i < values_.size(); ++i) {
    sums[i % per_step] += values_[i];
  }
  return ExpertLoad(1, num_layers_, num_experts_, std::move(sums));
}

}  // namespace switchyard
