// SPDX-License-Identifier: Apache-2.0
/// CombineInputs: what a combine needs beside the experts' rows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "switchyard/dispatch/recipe_support.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cpu {

using switchyard::CombineRoute;

/// Host memory, read during the call only.
struct CombineInputs {
  std::span<float const> weights{};  ///< [T * plan.slot_columns], as RoutingMap::weights()
  /// Given instead of `weights`: the same in fp64. Exact terms of the exact recipes, promoted by megatron_allgather,
  /// rounded to fp32 first by all others. All ranks give them or none; a rank without tokens gives an empty span.
  std::optional<std::span<double const>> weights_f64{};
  /// [T * plan.slot_columns] logical experts, as RoutingMap::ids(); read by source_expert_order only. Empty for a dense
  /// routing, whose slots are the experts.
  std::span<std::int32_t const> experts{};
  std::optional<ConstTensorView> shared_expert{};  ///< [T, H] of the result's dtype; the recipe says where it enters
  CombineRoute route = CombineRoute::automatic;
  /// The experts have multiplied by the weights that dispatch_weights() brought them: rows are added with weight 1 and
  /// the weights above are not read. The same on all ranks.
  bool weights_applied = false;
};

}  // namespace switchyard::cpu
