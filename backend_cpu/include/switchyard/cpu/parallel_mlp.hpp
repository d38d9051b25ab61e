// SPDX-License-Identifier: Apache-2.0
/// ParallelMlp: MegaBlocks' experts behind the router, on the planner, the executor and the exact experts of this
/// backend: permute, exchange, bin, compute, and back; forward and backward.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/stage_runner.hpp"
#include "switchyard/experts/load_balancing_loss.hpp"
#include "switchyard/experts/parallel_mlp.hpp"
#include "switchyard/experts/workspace.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard::cpu {

/// One rank's call. Host memory; nothing of it is changed.
struct ParallelMlpInputs {
  ConstTensorView tokens{};             ///< [T, H] of config.dtype
  RoutingMap const* routing = nullptr;  ///< T tokens in top-k form
  ExpertWeights weights{};              ///< of this rank's expert block and hidden shard; without b1 and b2
  ConstTensorView bias{};               ///< [H] of config.dtype, the same on all ranks; no data: none
  LoadBalancingLoss* losses = nullptr;  ///< where this layer leaves its counts and scores; null: it leaves none
  int layer = 0;                        ///< its number there
  std::span<float const> scores{};      ///< [T * experts] the router's probabilities; read only for `losses`
};

/// What a forward pass keeps for its backward: its plan, what the experts read, and what they gave.
struct ParallelMlpStep {
  DispatchPlan plan{};
  RoutingMap routing{};
  std::vector<RowBlock> blocks{};
  std::vector<std::byte> rows{};         ///< [plan.num_expert_rows(), H] the experts' inputs
  std::vector<std::byte> expert_rows{};  ///< [same, H] their outputs (f32 partials with hidden shards) ...
  QuantizedMatrix home_codes{};          ///< ... or, quantised, the joined outputs at this rank, one per choice
};

/// Gradients of one rank. Those without data are not computed.
struct ParallelMlpGradients {
  ConstTensorView d_output{};           ///< [T, H] of config.dtype
  TensorView d_tokens{};                ///< [T, H] of config.dtype; written completely
  std::span<float> d_router_weights{};  ///< [T * top_k]; written completely, +0 for a dropped choice
  TensorView d_w1{};  ///< f32, shaped as w1; this rank's rows only, to be summed over data parallelism
  TensorView d_w2{};
  TensorView d_bias{};  ///< [H] f32: sum over tokens ascending; only where forward() added the bias
};

/// One object per rank and configuration; calls are collective over the communicator.
///
/// Row order, capacities and drops are those of plan_megablocks(); experts compute only rows that hold tokens, which
/// gives the peer's outputs because its experts have no biases and map its zero rows to rows that nobody reads. Results
/// of hidden shards meet in fp32 over a fixed tree and are rounded once, where the peer adds rows of the row dtype.
/// Source: megablocks layers/moe.py ParallelMLP, layers/dmoe.py ParallelDroplessMLP.
class ParallelMlp {
 public:
  /// @param comm outlives the object; it has config.world ranks. @throws as ParallelMlpConfig::validate
  ParallelMlp(Communicator& comm, ParallelMlpConfig const& config);

  [[nodiscard]] ParallelMlpConfig const& config() const noexcept { return config_; }
  /// Sizes of this rank's weights.
  [[nodiscard]] ExpertMlp const& mlp() const noexcept { return experts_.mlp(); }

  /// @param output [T, H] of config.dtype, written completely; may be the tokens when `step` is null
  /// @param step filled for backward(), unless null
  /// @return the bias that the caller still has to add (config.return_bias), or a view without data
  /// @throws Error{shape_mismatch} naming the operand, Error{invalid_argument} for a routing in dense form,
  /// Error{unsupported} for experts with biases or quantised weights in a step that is kept, what
  /// LoadBalancingLoss::save throws; all before rows move. What the planner and the executor throw.
  [[nodiscard]] ConstTensorView forward(ParallelMlpInputs const& inputs, TensorView const& output,
                                        ParallelMlpStep* step = nullptr);

  /// The gradients of a forward pass, in any order relative to other passes.
  ///   output gradient -> row gradients: weight * gradient, rounded to fp32, then to the row dtype, at the source
  ///   router weights: lane32 over H of result * gradient, the results as ParallelMlpConfig::quantize_scatter_num_bits
  ///   keeps them; experts: ExpertGradientCall; tokens: a combine of config.recipe with weight 1
  /// @param weights those of the forward pass
  /// @throws as forward(); Error{invalid_argument} for d_bias where forward() did not add the bias
  void backward(ParallelMlpStep const& step, ExpertWeights const& weights, ParallelMlpGradients const& gradients);

 private:
  void check_inputs(ParallelMlpInputs const& inputs, TensorView const& output, bool kept) const;
  [[nodiscard]] TensorView run_experts(ParallelMlpInputs const& inputs, ParallelMlpStep& step, bool in_place);
  void add_bias(ConstTensorView const& bias, TensorView const& output) const;
  [[nodiscard]] QuantizedMatrix quantised_home(DispatchPlan const& plan, ConstTensorView const& expert_rows);
  void through_codes(ParallelMlpStep const& step, ParallelMlpGradients const& gradients, TensorView const& d_rows);
  void expert_backward(ParallelMlpStep const& step, ExpertWeights const& weights, ParallelMlpGradients const& gradients,
                       ConstTensorView const& d_results, TensorView const& d_rows);
  [[nodiscard]] DType result_dtype() const noexcept { return mlp().tp.size == 1 ? config_.dtype : DType::f32; }

  Communicator& comm_;
  ParallelMlpConfig config_;
  ExpertPlacement placement_;
  ExactExperts experts_;
  CpuExecutor executor_;
  StageRunner stages_;
  WorkspaceMemory workspace_;
};

}  // namespace switchyard::cpu
