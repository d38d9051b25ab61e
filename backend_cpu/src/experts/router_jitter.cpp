// SPDX-License-Identifier: Apache-2.0
#include "router_jitter.hpp"

#include <vector>

#include "expert_kernels.hpp"
#include "switchyard/hd/arithmetic.hpp"

namespace switchyard::cpu {

void RouterJitter::multiply(std::int64_t first, std::span<float> values) const {
  auto const low = static_cast<float>(hd::sub_rn(1.0, eps));
  auto const width = static_cast<float>(hd::mul_rn(2.0, eps));
  auto const count = static_cast<std::int64_t>(values.size());
  std::vector<float> factors(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint64_t const bits = random.bits(static_cast<std::uint64_t>(first) + i);
    float const fraction = static_cast<float>(bits >> 40) * 0x1p-24F;  // both exact
    factors[i] = hd::add_rn(low, hd::mul_rn(fraction, width));
  }
  ExpertKernels const& kernels = active_expert_kernels();
  kernels.add_and_round(factors.data(), nullptr, dtype, count);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = hd::mul_rn(values[i], factors[i]);
  kernels.add_and_round(values.data(), nullptr, dtype, count);
}

}  // namespace switchyard::cpu
