// SPDX-License-Identifier: Apache-2.0
/// RoutedBatch: what a router's recorded case compares, by core or by the GPU.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/routing/losses.hpp"
#include "switchyard/routing/router.hpp"

namespace switchyard::vectors {

struct RouterRequest {
  RouterConfig config{};
  ConstTensorView logits{};  ///< [tokens, experts] f32, host
  std::span<float const> bias{};
  double balance_coefficient = 0.0;  ///< of the batch's and the sequences' loss, over plain softmax scores
  double z_coefficient = 0.0;
  SequenceShape shape{};
};

struct RoutedBatch {
  RoutingMap routing;
  std::vector<std::int64_t> counts;
  float balance = 0.0F;
  float sequence = 0.0F;
  float z = 0.0F;
};

/// By core.
[[nodiscard]] RoutedBatch route_on_host(RouterRequest const& request);
/// By cuda::Router and cuda::RouterLosses. @throws Error{cuda}, and as core's functions
[[nodiscard]] RoutedBatch route_on_gpu(RouterRequest const& request);

}  // namespace switchyard::vectors
