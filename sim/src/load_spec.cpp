// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/load_spec.hpp"

#include <cmath>

#include "switchyard/internal/require.hpp"

namespace switchyard::sim {

void require_valid(LoadSpec const& spec) {
  SWITCHYARD_REQUIRE(spec.num_steps >= 1 && spec.num_layers >= 1 && spec.num_experts >= 1, invalid_argument,
                     "load needs at least 1 step, layer and expert, got {} x {} x {}", spec.num_steps, spec.num_layers,
                     spec.num_experts);
  SWITCHYARD_REQUIRE(spec.top_k >= 1 && spec.top_k <= spec.num_experts, invalid_argument,
                     "top_k {} must be in [1, {}], the number of experts", spec.top_k, spec.num_experts);
  SWITCHYARD_REQUIRE(spec.tokens_per_step >= 0, invalid_argument, "tokens_per_step {} is negative",
                     spec.tokens_per_step);
  for (double const sigma : {spec.sigma_first, spec.sigma_last}) {
    SWITCHYARD_REQUIRE(std::isfinite(sigma) && sigma >= 0 && sigma <= 5, invalid_argument,
                       "log-normal sigma {} must be in [0, 5]: measured loads lie in 0.2 to 1.4", sigma);
  }
}

}  // namespace switchyard::sim
