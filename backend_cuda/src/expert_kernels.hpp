// SPDX-License-Identifier: Apache-2.0
/// What the kernels of the exact expert engine are given: ChainProduct, a product of matrices per expert as fused
/// chains in a stated order, and the element-wise steps between products.
#pragma once

#include <cstdint>

#include "quantize_kernels.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/experts/expert_mlp.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard::cuda {

/// One side of a product: element (i, k) is i-th row or column of the result and k-th step of its chain.
struct ChainOperand {
  void const* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t stride = 0;         ///< elements from one line to the next; lines run along k, or across it
  std::int64_t expert_stride = 0;  ///< elements from one expert's matrix to the next; 0: lines are rows of a block
  /// Lines are those that `map` names: positions of the flattened rows, or with expert_stride lines within a matrix.
  std::int64_t const* map = nullptr;
  /// Codes instead of `data`; lines run along k. With expert_stride: [experts], device memory; else one matrix of rows.
  CodedMatrix const* expert_codes = nullptr;
  CodedMatrix row_codes{};

  [[nodiscard]] SWITCHYARD_HD bool coded() const noexcept {
    return expert_codes != nullptr || row_codes.codes != nullptr;
  }
};

/// Where the results of an expert go: element (i, j) after canonical NaN, bias and rounding.
struct ChainOutput {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t stride = 0;
  std::int64_t expert_stride = 0;  ///< 0: rows of the expert's block
  std::int64_t const* map = nullptr;
  void const* bias = nullptr;  ///< [experts, columns], or null
  DType bias_dtype = DType::f32;
  DType rounding = DType::f32;  ///< before it is stored as f32; a narrower dtype rounds by itself
};

/// out[i][j] = tree over segments of (chain over k ascending of fma(left(i, k), right(j, k))), every chain from +0.
struct ChainProduct {
  switchyard::RowBlock const* blocks = nullptr;  ///< [experts], device memory
  int experts = 0;
  std::int64_t total_rows = 0;  ///< of the flattened matrix that holds the blocks
  bool over_rows = false;       ///< the chains run over an expert's rows; else results are rows
  std::int64_t rows = 0;        ///< of the result, when chains run over rows
  std::int64_t columns = 0;
  std::int64_t steps = 0;  ///< when results are rows
  int segments = 1;        ///< a power of two
  std::int64_t segment_ends[kIntermediateBlocks] = {};
  ChainOperand left;
  ChainOperand right;
  ChainOutput out;
};

enum class ChainLines : std::uint8_t {
  both_along,    ///< lines of both sides run along k
  right_across,  ///< lines of the left side run along k, lines of the right side across it
  both_across,
};
/// Asynchronous, no allocation, capturable, as all launchers here. @throws Error{cuda}
void launch_chain_product(ChainLines lines, ChainProduct const& product, StreamView stream);
/// The same with codes on either side; both_along.
void launch_coded_product(ChainProduct const& product, StreamView stream);
/// Both sides int8: int32 sums per group of scales, one fma per group (see ExpertMlp). rows on the left, experts'
/// weights on the right.
void launch_int8_product(ChainProduct const& product, StreamView stream);

/// The activation of rows of hidden values, or its gradient.
struct ActivationJob {
  switchyard::RowBlock const* blocks = nullptr;
  int experts = 0;
  std::int64_t total_rows = 0;
  std::int64_t units = 0;
  ActivationSpec spec{};
  ExpertRounding rounding{};
  float const* hidden = nullptr;        ///< [rows, units * inputs_per_unit], in the order of w1's rows
  float* activation = nullptr;          ///< [rows, units]
  float const* d_output = nullptr;      ///< gradient: [rows, units]
  float* d_hidden = nullptr;            ///< gradient: [rows, units * inputs_per_unit], columns by `place`
  std::int64_t const* place = nullptr;  ///< where a row of w1 stands in the order of the backward's sums
};
void launch_activation(ActivationJob const& job, StreamView stream);
void launch_activation_gradient(ActivationJob const& job, StreamView stream);

/// Rows times their weights, rounded to the dtype, for rows of blocks.
struct WeighJob {
  switchyard::RowBlock const* blocks = nullptr;
  int experts = 0;
  std::int64_t total_rows = 0;
  std::int64_t columns = 0;
  DType dtype{};
  void const* rows = nullptr;
  float const* weights = nullptr;  ///< one per row
  void* out = nullptr;
};
void launch_weigh_blocks(WeighJob const& job, StreamView stream);

/// sums[expert][place[c]] = column c of an expert's rows added in order from +0, NaN canonical.
struct ColumnSumJob {
  switchyard::RowBlock const* blocks = nullptr;
  int experts = 0;
  std::int64_t columns = 0;
  void const* rows = nullptr;
  DType dtype = DType::f32;
  std::int64_t const* map = nullptr;    ///< which row stands at a position; null: itself
  std::int64_t const* order = nullptr;  ///< which sum a column belongs to; null: its own
  float* sums = nullptr;                ///< [experts, columns]
};
void launch_column_sums(ColumnSumJob const& job, StreamView stream);

/// Joins partials over their tree, adds a bias and rounds, for rows of blocks.
struct JoinJob {
  switchyard::RowBlock const* blocks = nullptr;
  int experts = 0;
  std::int64_t total_rows = 0;
  std::int64_t columns = 0;
  int partials = 0;
  float const* partial[kIntermediateBlocks] = {};
  void const* bias = nullptr;
  DType bias_dtype = DType::f32;
  void* out = nullptr;
  DType dtype{};
};
void launch_join(JoinJob const& job, StreamView stream);

/// out[r] = d_input[r] * weight[r] rounded; d_weights[r] = lane32 of rows[r] * d_input[r].
struct WeightGradientJob {
  void const* rows = nullptr;
  void const* d_input = nullptr;
  float const* weights = nullptr;
  void* d_rows = nullptr;
  float* d_weights = nullptr;
  std::int64_t count = 0;
  std::int64_t columns = 0;
  DType dtype{};
};
void launch_weight_gradient(WeightGradientJob const& job, StreamView stream);

}  // namespace switchyard::cuda
