// SPDX-License-Identifier: Apache-2.0
/// ExactExperts: the expert MLP of ExpertMlp on the CPU, bit for bit as it is defined there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "switchyard/experts/expert_gradient.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard::cpu {

/// Same bits for every number of workers and every instruction set (fused multiply-adds are emulated where the
/// processor has none: correct, but some hundred times slower). Parallel over columns of outputs and over rows of
/// activations.
class ExactExperts final : public Experts, public ExpertBackward {
 public:
  /// @throws what ExpertMlp::validate throws
  explicit ExactExperts(ExpertMlp mlp);

  [[nodiscard]] std::string_view name() const noexcept override { return "exact"; }
  [[nodiscard]] ExpertMlp const& mlp() const noexcept override { return mlp_; }
  [[nodiscard]] std::int64_t workspace_bytes(std::int64_t max_rows) const override;
  /// @note besides the workspace each parallel range allocates one panel of columns (at most 32 x max(H, I) floats).
  void apply(ExpertCall const& call, std::span<std::byte> workspace) const override;

  [[nodiscard]] std::int64_t backward_workspace_bytes(std::int64_t max_rows) const override;
  void backward(ExpertGradientCall const& call, std::span<std::byte> workspace) const override;

 private:
  ExpertMlp mlp_;
};

/// Joins the f32 partials of all TP ranks (in their tree), adds b2 and rounds once: what TP size 1 returns directly.
/// @param partials [tp size] matrices [rows, H] of f32, TP ranks ascending; overwritten
/// @param blocks   [local experts] which rows to finish; others are left alone
/// @param b2       [local experts, H], or a view without data
/// @param output   [rows, H] of the row dtype; may be the memory of the first partial only if the dtype is f32
/// @throws Error{shape_mismatch} naming the operand
void finish_partials(ExpertMlp const& mlp, std::span<TensorView const> partials, std::span<RowBlock const> blocks,
                     ConstTensorView const& b2, TensorView const& output);

/// Backward of the router weight on the input, on complete (joined) gradients: d_rows[r] = d_input[r] * weight[r],
/// rounded to the dtype; d_weights[r] = lane32 sum over columns of rows[r] * d_input[r], products rounded first.
/// @param rows, d_input, d_rows [rows, H] of one dtype; d_rows may be the memory of d_input
/// @throws Error{shape_mismatch} naming the operand
void router_weight_backward(ConstTensorView const& rows, std::span<float const> weights, ConstTensorView const& d_input,
                            TensorView const& d_rows, std::span<float> d_weights);

}  // namespace switchyard::cpu
