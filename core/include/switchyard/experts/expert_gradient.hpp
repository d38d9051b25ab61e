// SPDX-License-Identifier: Apache-2.0
/// ExpertGradientCall: the operands of an expert MLP's backward, and the orders of its sums.
///
/// Roundings count as the identity; factors are the rounded values of the forward pass, which is computed again.
///   da[i] = chain over c ascending of fma(dy[c], w2[c][i])
///   dg[i] = (da[i] * up term) * slope of the activation; du[i] = (da[i] * rounded gate) * slope of the up term
///   dx[k] = per block of I one chain: its gate rows of w1 ascending, then its up rows, of fma(dh[n], w1[n][k]); blocks
///           joined as in the forward pass, so that TP 1, 2, 4 and 8 give equal bits
///   dw2[c][i], dw1[n][k] = chains over the expert's rows in rank_major order of fma(dy[c], a[i]) and fma(dh[n], x[k])
///   db2[c], db1[n] = sums of dy[c] and dh[n] in the same order
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "switchyard/experts/experts.hpp"

namespace switchyard {

struct ExpertGradientCall {
  ExpertCall forward{};  ///< rows, blocks, plain weights, row_weights as in the forward call; its output is unread
  ConstTensorView d_output{};  ///< [*, H] of the row dtype: gradient of the unweighted expert outputs
  /// Which row comes next in rank_major order: position p of an expert's block holds row order[p] of the same block.
  /// Empty: the rows lie in that order.
  std::span<std::int64_t const> rank_major_rows{};
  /// [*, H] gradient of the experts' inputs (of the weighted ones, with row_weights): row dtype for TP size 1, else
  /// this rank's f32 partial. May be the memory of d_output for TP size 1.
  TensorView d_rows{};
  TensorView d_w1{};  ///< f32, shaped as w1; overwritten; experts without rows get zeros. No data: not computed
  TensorView d_w2{};
  TensorView d_b1{};
  TensorView d_b2{};  ///< the same on every TP rank
};

/// What experts offer that can be trained: a second interface of such objects, which expert_backward() finds.
class ExpertBackward {
 public:
  virtual ~ExpertBackward() = default;
  /// Bytes of workspace that backward() needs when no expert has more than `max_rows` rows.
  [[nodiscard]] virtual std::int64_t backward_workspace_bytes(std::int64_t max_rows) const = 0;
  /// Gradients of inputs and weights, see ExpertGradientCall.
  /// @throws as Experts::apply, Error{unsupported} for quantised weights or rows, Error{invalid_argument} when
  /// rank_major_rows names a row outside its block or twice
  virtual void backward(ExpertGradientCall const& call, std::span<std::byte> workspace) const = 0;
};

/// @return the interface, or null when `experts` has no backward.
[[nodiscard]] ExpertBackward const* expert_backward(Experts const& experts) noexcept;

}  // namespace switchyard
