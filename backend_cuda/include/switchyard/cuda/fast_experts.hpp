// SPDX-License-Identifier: Apache-2.0
/// FastExperts: expert MLPs by cuBLAS on tensor cores, forward and backward; outside the bit contract.
#pragma once

#include <memory>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/experts/compatibility.hpp"
#include "switchyard/experts/expert_gradient.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard::cuda {

/// The computation of ExpertMlp with the sums of all products in cuBLAS's order instead of one chain per element, so
/// bits may differ from ExactExperts, between GPUs and between versions of cuBLAS. Where every partial sum is exact,
/// e.g. for small integers, the bytes are those of ExactExperts.
///
/// Error bound, for S products that are added in any order and g(S) = S u / (1 - S u): a sum is within g(S) * (sum of
/// the products' magnitudes) of the exact one, u = 2^-23 for floats of any dtype (tensor cores may cut off where fp32
/// rounds) and u = 2^-12 for e4m3 codes (Hopper's tensor cores keep 13 bits below the largest term of a step; sums are
/// exact while they stay below 2^13 times the last bit of every product). Then comes the rounding to the row dtype
/// that ExactExperts does too. Activations are computed by the same operations. The backward rounds the gradient of
/// hidden values once more, to the row dtype, which the products that follow read.
///
/// With codes (forward only): e4m3 on both sides of both products, ExpertMlp::input_quant and activation_quant both
///   fp8_tensor   one given scale; weights with one scale per expert; rows of bf16 or f16
///   fp8_token    a scale per row; weights with a scale per line; rows of bf16
///   fp8_group or fp8_deepep by 128 columns   weights with a scale per 128 x 128 (as DeepSeek-V3); rows of bf16 or f16
/// The codes' products are summed first and then multiplied by both scales, block by block. With blocks of scales an
/// expert's rows are padded to a multiple of 4: where its number is no such multiple, results pass through scratch
/// memory on the way to their rows.
///
/// Biases may be f32, bf16 or f16. Those of the rows' dtype are added by cuBLAS where codes have at most one scale per
/// matrix; any other by a kernel of ours, from floats; in both cases before the result's one rounding.
///
/// With TP above 1 a rank's output, and its gradient of rows, is a partial in f32, as ExpertCall says; partials of
/// ranks may be joined in any order.
///
/// Views, and spans of row weights, are device memory; blocks lie on the host. Scratch memory is the object's own
/// (workspaces that callers give are unused), so calls from two threads need two objects; it grows with the largest
/// call and later calls allocate nothing. A call is asynchronous; it can be captured once a call of the same sizes was
/// made, and replays with the same blocks.
class FastExperts final : public Experts, public ExpertBackward {
 public:
  /// Binds to the current device.
  /// @throws what ExpertMlp::validate throws; Error{unsupported} unless hidden values and activations are rounded to
  ///         the row dtype (ExpertRounding::every_store), because tensor cores read what was stored; for other codes
  ///         than above, for sizes that are no multiple of 16 with them, and where this GPU or version of cuBLAS has no
  ///         such product; Error{out_of_memory, cuda}
  FastExperts(ExpertMlp const& mlp, StreamView stream);
  ~FastExperts() override;

  [[nodiscard]] std::string_view name() const noexcept override { return "fast"; }
  [[nodiscard]] ExpertMlp const& mlp() const noexcept override;
  /// What a MoeLayer is told: both formats, rows of the dtype, or the codes that this engine was made for.
  [[nodiscard]] ExpertsTraits traits() const;
  [[nodiscard]] std::int64_t workspace_bytes(std::int64_t) const override { return 0; }
  /// @throws Error{shape_mismatch} naming the operand, Error{unsupported} for weights of another dtype than the rows,
  ///         codes other than the constructor was told, or a product with biases that cuBLAS lacks,
  ///         Error{invalid_argument} for blocks outside the rows, all before work is issued; Error{out_of_memory, cuda}
  void apply(ExpertCall const& call, std::span<std::byte> workspace) const override;

  [[nodiscard]] std::int64_t backward_workspace_bytes(std::int64_t) const override { return 0; }
  /// Gradients of plain weights and of biases, which are summed over rows in any order: rank_major_rows is unread.
  /// @throws as apply; Error{unsupported} for codes
  void backward(ExpertGradientCall const& call, std::span<std::byte> workspace) const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
