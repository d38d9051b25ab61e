// SPDX-License-Identifier: Apache-2.0
/// StartedCombine: what an executor keeps between the two halves of a combine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "stages.hpp"
#include "switchyard/cpu/combine_inputs.hpp"
#include "switchyard/cpu/split_calls.hpp"
#include "switchyard/dispatch/combine_recipe.hpp"

namespace switchyard::cpu {

/// Rows on their way to their sources.
struct ReturningRows {
  ConstRows rows;
  DType dtype;
};

struct StartedCombine {
  DispatchPlan const& plan;
  CombineRecipe recipe;
  ConstTensorView expert_rows;
  CombineInputs inputs;
  std::vector<float> ones;  ///< the weights, where the experts have applied them
  TensorView out;
  std::optional<Duration> deadline;
  std::uint64_t configuration = 0;
  std::optional<std::size_t> exchange{};  ///< its place on the way back; none: all happens in the second half
  ConstRows sent{};
  Rows received{};
  std::unique_ptr<StartedCall> call{};  ///< null: the communicator makes the exchange in one piece, later
};

}  // namespace switchyard::cpu
