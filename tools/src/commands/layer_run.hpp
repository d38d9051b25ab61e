// SPDX-License-Identifier: Apache-2.0
/// LayerRun: one run of a described layer on emulated ranks.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "commands/layer_tensors.hpp"
#include "switchyard/cpu/scheduler.hpp"

namespace switchyard::cli {

/// Sums over all ranks.
struct StageTotal {
  std::string name;
  std::int64_t rows = 0;          ///< that the stage hands on
  std::int64_t bytes = 0;         ///< of them
  std::int64_t remote_bytes = 0;  ///< of them, what came from another rank
};

/// The last three where there is a backward.
inline constexpr std::array<std::string_view, 7> kLayerSteps = {
    "plan and send", "receive", "experts", "finalize", "gradients of results", "expert gradients", "token gradients"};
inline constexpr std::size_t kForwardSteps = 4;

struct LayerRun {
  cpu::PrepareKind kind{};
  ExpertParallelGrid grid{};
  std::vector<StageTotal> stages;               ///< of the way to the experts, in order; empty without communication
  std::int64_t expert_rows = 0;                 ///< all ranks, TP copies included
  std::array<double, kLayerSteps.size()> ms{};  ///< of the slowest rank
  LayerTensors tensors{};
};

/// @return why this way and grid are no layer by themselves; empty when they are.
[[nodiscard]] std::string not_runnable(LayerDescription const& description, cpu::PrepareKind kind,
                                       ExpertParallelGrid grid);
/// Tokens, weights and routing depend on the description's seed alone, never on the grid.
[[nodiscard]] LayerRun run_layer(LayerDescription const& description, cpu::PrepareKind kind, ExpertParallelGrid grid,
                                 cpu::Scheduler& scheduler);
/// The same layer on one rank that holds all experts whole and all tokens: no exchange, no TP, and nothing on the wire.
[[nodiscard]] LayerRun run_dense(LayerDescription description, cpu::Scheduler& scheduler);

}  // namespace switchyard::cli
