// SPDX-License-Identifier: Apache-2.0
/// The kernels of Sinkhorn. Device memory throughout.
#pragma once

#include <cstdint>

#include "router_kernels.hpp"

namespace switchyard::cuda {

/// How a call ended.
enum class SinkhornEnd : std::int32_t { bound, converged, overflow, bad_logits };

struct SinkhornOutcome {
  std::int32_t iterations;
  SinkhornEnd end;
};

struct SinkhornParams {
  RouterLogits logits;
  std::int32_t experts;
  float tolerance;
  std::int32_t max_iterations;
  float* balanced;   ///< [tokens, experts]; e^logit until the last step
  float* of_token;   ///< [tokens] scratch
  float* of_expert;  ///< [experts] scratch
  float* change;     ///< [experts] scratch
  SinkhornOutcome* outcome;
};

[[nodiscard]] std::int64_t prepare_sinkhorn_kernels();
void launch_sinkhorn(SinkhornParams const& params, StreamView stream);

}  // namespace switchyard::cuda
