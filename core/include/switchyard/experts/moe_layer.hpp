// SPDX-License-Identifier: Apache-2.0
/// MoeLayer: one way to move rows and one way to compute experts, joined into the layer that a model calls.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/experts/prepare_finalize.hpp"
#include "switchyard/experts/workspace.hpp"

namespace switchyard {

struct MoeLayerOptions {
  int global_num_experts = -1;          ///< experts that routings may name; -1 = the local ones are all there are
  bool router_weight_on_input = false;  ///< top-1 only
  std::optional<float> a1_scale{};      ///< given scale (fp8_tensor) of the first layer's input, whoever quantises it
  std::optional<float> a2_scale{};      ///< given scale (fp8_tensor) of the second layer's input
  /// Where rows and results lie; null = host memory. Outlives the layer. Pair, experts and all operands of the calls
  /// (d_router_weights too) are of that memory.
  MemorySource* memory = nullptr;
};

/// Where a backward writes. Weight gradients are f32, shaped as the weights, and overwritten; no data: not wanted.
/// They are those of this rank's rows: the caller adds the ones of replicas of an expert.
struct MoeGradients {
  TensorView d_tokens{};                ///< [T, H] of the row dtype; may be the memory of the output's gradient
  std::span<float> d_router_weights{};  ///< [T * top_k]; +0 for a pair that no expert here or elsewhere took
  TensorView d_w1{};
  TensorView d_w2{};
  TensorView d_b1{};
  TensorView d_b2{};  ///< the same on every TP rank
};

/// Sizes that follow from the weights alone, never from trailing dimensions that packing changes.
struct MoeProblem {
  std::int64_t local_experts = 0;
  std::int64_t first_outputs = 0;  ///< N: 2 I for gated forms, I for plain ones
  std::int64_t hidden = 0;         ///< K, from the second matrix' rows
  friend bool operator==(MoeProblem const&, MoeProblem const&) = default;
};
/// @throws Error{shape_mismatch} when w1 and w2 hold different numbers of experts, or a plain one is no matrix each.
[[nodiscard]] MoeProblem problem_of(ExpertWeights const& weights);

/// @return every reason why the three do not make a layer, both sides named: incompatibilities() of their traits, then
/// sizes, dtypes, TP position, number of experts, and scales that nobody reads. Empty when they fit. Pure.
[[nodiscard]] std::vector<std::string> composition_problems(PrepareFinalize const& prepare, Experts const& experts,
                                                            ExpertsTraits const& traits,
                                                            MoeLayerOptions const& options);

/// A micro-batch inside a MoeLayer.
class MoeStep {
 public:
  [[nodiscard]] PreparedBatch const& batch() const noexcept { return *batch_; }
  /// Named parts of the memory that the step takes: rows, expert outputs, the experts' workspace. After receive().
  [[nodiscard]] std::vector<WorkspacePart> const& parts() const noexcept { return parts_; }

 private:
  friend class MoeLayer;
  std::unique_ptr<PreparedBatch> batch_;
  bool keep_rows_ = false;  ///< a backward will read them: experts do not write over them
  ConstTensorView tokens_{};
  PreparedRows rows_{};
  TensorView results_{};
  ConstTensorView join_bias_{};
  std::span<std::byte> scratch_{};
  WorkspaceMemory memory_{};
  std::vector<WorkspacePart> parts_{};
};

/// What a forward pass leaves for its backward: the plan of its rows, the experts' inputs and their results. Tokens,
/// routing and weights stay the caller's, untouched until the backward is over (tokens only with weights on the input).
class MoeContext {
 public:
  [[nodiscard]] PreparedBatch const& batch() const noexcept { return step_.batch(); }
  /// Named parts of the memory that the backward takes beside the step's. After receive_gradients().
  [[nodiscard]] std::vector<WorkspacePart> const& parts() const noexcept { return parts_; }

 private:
  friend class MoeLayer;
  explicit MoeContext(MoeStep&& step) : step_(std::move(step)) {}
  MoeStep step_;
  TensorView d_results_{};
  TensorView d_rows_{};
  std::span<float> d_router_weights_{};
  std::span<std::byte> scratch_{};
  WorkspaceMemory memory_{};
  std::vector<WorkspacePart> parts_{};
};

/// forward() is one call; its five parts are there so that a caller can put one micro-batch's experts between the
/// halves of another's prepare or finalize: start(a), receive(a), start(b), compute(a), receive(b), start_finalize(a),
/// compute(b), finish_finalize(a), ... Steps may be at different places, at most one of them between start() and
/// receive() or between two halves of anything else: its rows are in flight. The memory of finished steps serves the
/// next ones. Same bits whichever way.
///
/// A backward goes back the same way: forward_training() (or start_training() and keep()), then backward() or its four
/// parts. Every gradient has one order of summation, whatever moves the rows and however many ranks there are
/// (docs/determinism/backward.md).
class MoeLayer {
 public:
  /// @param prepare, experts outlive the layer. @param traits of `experts`
  /// @throws Error{invalid_argument} with all composition_problems().
  MoeLayer(PrepareFinalize& prepare, Experts const& experts, ExpertsTraits const& traits, MoeLayerOptions options);

  /// @param weights of this rank's experts (and TP slice); the second bias whole on every TP rank, where it is added
  /// once, after the join. @param output [T, H] of the row dtype, may be `tokens`.
  /// @throws what the parts throw; Error{shape_mismatch} when weights are of other sizes, before anything moves here.
  void forward(ConstTensorView const& tokens, RoutingMap const& routing, ExpertWeights const& weights,
               TensorView const& output);

  [[nodiscard]] MoeStep start(ConstTensorView const& tokens, RoutingMap const& routing);
  void receive(MoeStep& step);
  /// Needs no communication.
  void compute(MoeStep& step, ExpertWeights const& weights) const;
  void start_finalize(MoeStep& step, TensorView const& output);
  void finish_finalize(MoeStep& step);

  /// forward() that leaves what backward() needs. With weights on the input `output` must not be `tokens`.
  /// @throws also Error{unsupported} where there is no backward: experts without one, rows that are quantised.
  [[nodiscard]] MoeContext forward_training(ConstTensorView const& tokens, RoutingMap const& routing,
                                            ExpertWeights const& weights, TensorView const& output);
  /// start() of a step that a backward follows.
  [[nodiscard]] MoeStep start_training(ConstTensorView const& tokens, RoutingMap const& routing);
  /// After finish_finalize(). @throws Error{invalid_argument} for a step that start() began
  [[nodiscard]] MoeContext keep(MoeStep&& step) const;

  /// @param d_output [T, H] of the row dtype. @param weights those of the forward pass
  /// @throws what the parts throw; Error{invalid_argument} for a context that has been used.
  void backward(MoeContext& context, ConstTensorView const& d_output, ExpertWeights const& weights,
                MoeGradients const& gradients);
  /// Gradients of the experts' results and of weights applied in finalize.
  void receive_gradients(MoeContext& context, ConstTensorView const& d_output, MoeGradients const& gradients);
  /// Gradients of experts' weights and inputs. Needs no communication.
  void compute_gradients(MoeContext& context, ExpertWeights const& weights, MoeGradients const& gradients) const;
  void start_token_gradients(MoeContext& context, MoeGradients const& gradients);
  /// Gradients of tokens, and of weights applied to the input.
  void finish_token_gradients(MoeContext& context);

 private:
  void check_weights(ExpertWeights const& weights) const;
  [[nodiscard]] WorkspaceMemory take_free_memory();

  PrepareFinalize& prepare_;
  Experts const& experts_;
  MoeLayerOptions options_;
  std::vector<WorkspaceMemory> free_memory_;
};

}  // namespace switchyard
