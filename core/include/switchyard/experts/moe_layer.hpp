// SPDX-License-Identifier: Apache-2.0
/// MoeLayer: one way to move rows and one way to compute experts, joined into the layer that a model calls.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/experts/prepare_finalize.hpp"
#include "switchyard/experts/workspace.hpp"

namespace switchyard {

struct MoeLayerOptions {
  int global_num_experts = -1;          ///< experts that routings may name; -1 = the local ones are all there are
  bool router_weight_on_input = false;  ///< top-1 only
  std::optional<float> a1_scale{};      ///< given scale (fp8_tensor) of the first layer's input, whoever quantises it
  std::optional<float> a2_scale{};      ///< given scale (fp8_tensor) of the second layer's input
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
  PreparedRows rows_{};
  TensorView results_{};
  std::span<std::byte> scratch_{};
  WorkspaceMemory memory_{};
  std::vector<WorkspacePart> parts_{};
};

/// forward() is one call; its five parts are there so that a caller can put one micro-batch's experts between the
/// halves of another's prepare: start(a), receive(a), start(b), compute(a), receive(b), finish(a, ...), compute(b), ...
/// Steps may be at different places, at most one of them between start() and receive(). The memory of finished steps
/// serves the next ones. Same bits whichever way.
class MoeLayer {
 public:
  /// @param prepare, experts outlive the layer. @param traits of `experts`
  /// @throws Error{invalid_argument} with all composition_problems().
  MoeLayer(PrepareFinalize& prepare, Experts const& experts, ExpertsTraits const& traits, MoeLayerOptions options);

  /// @param weights of this rank's experts (and TP slice). @param output [T, H] of the row dtype, may be `tokens`.
  /// @throws what the parts throw; Error{shape_mismatch} when weights are of other sizes, before anything moves here.
  void forward(ConstTensorView const& tokens, RoutingMap const& routing, ExpertWeights const& weights,
               TensorView const& output);

  [[nodiscard]] MoeStep start(ConstTensorView const& tokens, RoutingMap const& routing);
  void receive(MoeStep& step);
  /// Needs no communication.
  void compute(MoeStep& step, ExpertWeights const& weights) const;
  void start_finalize(MoeStep& step, TensorView const& output);
  void finish_finalize(MoeStep& step);

 private:
  void check_weights(ExpertWeights const& weights) const;

  PrepareFinalize& prepare_;
  Experts const& experts_;
  MoeLayerOptions options_;
  std::vector<WorkspaceMemory> free_memory_;
};

}  // namespace switchyard
