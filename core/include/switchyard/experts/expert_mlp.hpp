// SPDX-License-Identifier: Apache-2.0
/// ExpertMlp: what one rank's experts compute, as data: sizes, activation, every rounding, and the slice of the
/// intermediate dimension that a TP rank holds.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "switchyard/experts/quantization.hpp"
#include "switchyard/types/activation.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard {

/// Sums over the intermediate dimension I have this many blocks, whatever I is (DESIGN 2.5).
inline constexpr int kIntermediateBlocks = 8;

/// First unit of block b: b * I / 8 in integer division, b in [0, 8]. Blocks may be empty when I < 8.
[[nodiscard]] constexpr std::int64_t intermediate_block_begin(std::int64_t intermediate, int block) noexcept {
  // The quotient first: I * 8 must not overflow.
  return intermediate / kIntermediateBlocks * block + intermediate % kIntermediateBlocks * block / kIntermediateBlocks;
}

/// A position in a tensor-parallel group. 1, 2, 4 and 8 ranks own whole subtrees of the sum over I.
struct TpSlice {
  int rank = 0;
  int size = 1;
  friend bool operator==(TpSlice const&, TpSlice const&) = default;
};

/// Where the values of an expert are rounded, besides the fp32 roundings of every operation. f32 means: not at all.
struct ExpertRounding {
  DType hidden = DType::f32;  ///< the first layer's output, bias included
  DType gate = DType::f32;    ///< the activated gate, before it is multiplied with the up input; plain forms: unused
  DType activation = DType::f32;  ///< what the second layer reads

  /// As kernels that write every intermediate in the row dtype (vLLM's csrc activations).
  [[nodiscard]] static ExpertRounding every_store(DType dtype) noexcept { return {dtype, dtype, dtype}; }
  /// As a fused kernel: only the second layer's input is rounded.
  [[nodiscard]] static ExpertRounding fused(DType dtype) noexcept { return {DType::f32, DType::f32, dtype}; }
  friend bool operator==(ExpertRounding const&, ExpertRounding const&) = default;
};

/// The computation of one row x of `hidden` values by expert e:
///   h[n] = chain over k ascending of fma(x[k], w1[e][n][k]), from +0; then + b1[e][n]; rounded to rounding.hidden
///   a[i] = activation of h (gated: of gate i, rounded, times up i); rounded to rounding.activation
///   y[c] = for each block b of I a chain over i ascending of fma(a[i], w2[e][c][i]), from +0; the 8 chains added in
///          pairs ((0+1)+(2+3))+((4+5)+(6+7)); then + b2[e][c]; rounded once to dtype
/// Quantised operands stand for code * scale (QuantizedView) and enter the same chains; but where both operands of a
/// product are int8, the codes of each group of scales (and block of I) are summed in int32 and one
/// fma(float(sum), row scale * weight scale, chain) follows per group, groups ascending.
/// A TP rank holds blocks [rank*8/size, (rank+1)*8/size) and returns the sum of its subtree in fp32.
struct ExpertMlp {
  std::int64_t hidden = 0;        ///< H, of inputs and outputs
  std::int64_t intermediate = 0;  ///< I of the whole expert, all TP ranks together
  int num_local_experts = 0;
  DType dtype = DType::f32;  ///< of rows and outputs: f32, bf16 or f16
  ActivationSpec activation{};
  ExpertRounding rounding{};
  TpSlice tp{};
  /// Rows (times their router weight) are quantised before the first layer, unless they come quantised already.
  std::optional<QuantSpec> input_quant{};
  /// What the second layer reads is quantised, after rounding.activation. With TP a rank sees its own slice of I: bits
  /// are equal for all TP sizes only if no group of scales crosses a slice.
  std::optional<QuantSpec> activation_quant{};

  /// Throws Error{invalid_argument} naming the field that cannot be, Error{unsupported} for a TP size other than 1, 2,
  /// 4, 8 or a dtype that is no row dtype.
  void validate() const;
  /// First unit of I that this rank holds, and how many.
  [[nodiscard]] std::int64_t first_unit() const noexcept;
  [[nodiscard]] std::int64_t local_units() const noexcept;
  /// Rows of w1 on this rank: local_units() times 1 or 2.
  [[nodiscard]] std::int64_t first_layer_outputs() const noexcept;
  /// Row of w1 (column of h) with the gate and the up input of local unit i; equal for plain forms.
  [[nodiscard]] std::int64_t gate_row(std::int64_t unit) const noexcept;
  [[nodiscard]] std::int64_t up_row(std::int64_t unit) const noexcept;
  /// Ends of this rank's blocks in local units, ascending; 8 / tp.size of them.
  [[nodiscard]] std::vector<std::int64_t> block_ends() const;
  friend bool operator==(ExpertMlp const&, ExpertMlp const&) = default;
};

}  // namespace switchyard
