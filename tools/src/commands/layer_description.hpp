// SPDX-License-Identifier: Apache-2.0
/// LayerDescription: a MoE layer and the ways to run it, as a JSON file says them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "switchyard/cpu/prepare_finalize.hpp"
#include "switchyard/experts/moe_layer.hpp"

namespace switchyard::cli {

struct LayerDescription {
  std::vector<cpu::PrepareKind> prepares;
  std::vector<int> eps;
  std::vector<int> tps;
  std::int64_t tokens = 0;  ///< of all ranks together, dealt in blocks
  int top_k = 1;
  bool biased = false;
  bool backward = true;  ///< gradients too
  std::uint64_t seed = 0;
  ExpertMlp mlp{};                ///< all experts, TP size 1
  cpu::PrepareOptions options{};  ///< the grid is filled in per run
  MoeLayerOptions layer{};
};

/// @throws Error{io}, Error{parse} naming file, place, value and what would do.
[[nodiscard]] LayerDescription read_layer_description(std::string const& file);

}  // namespace switchyard::cli
