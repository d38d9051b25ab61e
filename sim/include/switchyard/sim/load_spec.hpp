// SPDX-License-Identifier: Apache-2.0
/// LoadSpec: the parameters of a synthetic expert load.
#pragma once

#include <cstdint>

namespace switchyard::sim {

/// Log-normal expert popularity per layer; the skew of layer l runs from sigma_first to sigma_last with depth.
struct LoadSpec {
  int num_steps = 1;
  int num_layers = 58;
  int num_experts = 256;
  int top_k = 8;
  std::int64_t tokens_per_step = 32 * 1024;  ///< over all ranks
  double sigma_first = 0.5;
  double sigma_last = 1.2;
  std::uint64_t seed = 1;
};

/// @throws Error{invalid_argument} naming the field and what to change.
void require_valid(LoadSpec const& spec);

}  // namespace switchyard::sim
