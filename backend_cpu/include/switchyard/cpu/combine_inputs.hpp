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
  /// [local experts, H] f32, bf16 or f16, for TP > 1 only: the bias of the experts' second matrix, which TP ranks leave
  /// out of their partials. Added in fp32 to the joined sum of every row, which is rounded after it: once, by whichever
  /// TP rank joins the row. All ranks give it or none (a rank without experts one of 0 rows), each for its own experts.
  /// Recipes that join no TP partials refuse it; rows then travel staged.
  std::optional<ConstTensorView> join_bias{};
  CombineRoute route = CombineRoute::automatic;
  /// The experts have multiplied by the weights that dispatch_weights() brought them: rows are added with weight 1 and
  /// the weights above are not read. The same on all ranks.
  bool weights_applied = false;
};

}  // namespace switchyard::cpu
