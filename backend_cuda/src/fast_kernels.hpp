// SPDX-License-Identifier: Apache-2.0
/// What the kernels of the fast expert engine are given. Blocks of rows are arguments, not memory: nothing is uploaded.
#pragma once

#include <cstdint>
#include <span>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/experts/expert_mlp.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard::cuda {

/// Activations of rows of hidden values, everything of the row dtype; the operations of the exact engine.
struct FastActivationJob {
  DType dtype{};
  std::int64_t units = 0;
  ActivationSpec spec{};
  DType gate_rounding = DType::f32;
  void const* hidden = nullptr;  ///< [*, units * inputs_per_unit], in the order of w1's rows
  void* activation = nullptr;    ///< [*, units]
};
/// Asynchronous, no allocation, capturable, as all launchers here. @throws Error{unsupported} for a dtype, Error{cuda}
void launch_fast_activation(std::span<switchyard::RowBlock const> blocks, FastActivationJob const& job,
                            StreamView stream);

/// The activations again and the gradient of the hidden values.
struct FastGradientJob {
  FastActivationJob forward{};
  float const* d_activation = nullptr;  ///< [*, units]
  void* d_hidden = nullptr;             ///< as `hidden`, rounded to the row dtype
};
void launch_fast_gradient(std::span<switchyard::RowBlock const> blocks, FastGradientJob const& job, StreamView stream);

/// out[row] = rows[row] * weights[row], rounded to the dtype.
struct FastWeighJob {
  DType dtype{};
  std::int64_t columns = 0;
  void const* rows = nullptr;
  float const* weights = nullptr;
  void* out = nullptr;
};
void launch_fast_weigh(std::span<switchyard::RowBlock const> blocks, FastWeighJob const& job, StreamView stream);

/// Scales of rows as cuBLAS reads them: for every block b, from to + padded[b].first_row * groups on, the scales of
/// group 0 of all its rows, then those of group 1, and so on; zeros for the rows that padding adds.
struct RowScaleJob {
  std::int64_t groups = 1;
  float const* from = nullptr;  ///< [*, groups]
  float* to = nullptr;
};
void launch_pack_row_scales(std::span<switchyard::RowBlock const> blocks, std::span<switchyard::RowBlock const> padded,
                            RowScaleJob const& job, StreamView stream);

/// Copies matrices of floats: to[m][line][c] = from[m][line][c], lines of `to` `stride` floats apart.
struct ScaleLinesJob {
  std::int64_t lines = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;
  float* to = nullptr;
};
void launch_spread_scale_lines(std::span<float const* const> from, ScaleLinesJob const& job, StreamView stream);

/// out[to[b] + i] = sums[from[b] + i] + bias[b], rounded to the dtype, for the rows of `to`.
struct FastFinishJob {
  DType dtype{};
  std::int64_t columns = 0;
  void const* sums = nullptr;  ///< [*, columns]
  DType sums_dtype = DType::f32;
  void const* bias = nullptr;  ///< [blocks, columns], or null: none
  DType bias_dtype = DType::f32;
  void* out = nullptr;  ///< [*, columns]
};
void launch_fast_finish(std::span<switchyard::RowBlock const> from, std::span<switchyard::RowBlock const> to,
                        FastFinishJob const& job, StreamView stream);

/// sums[b] = the rows of block b added, floats; zeros for a block without rows. In a fixed order.
struct FastColumnSums {
  DType dtype{};
  std::int64_t columns = 0;
  void const* rows = nullptr;
  float* sums = nullptr;  ///< [blocks, columns]
};
void launch_fast_column_sums(std::span<switchyard::RowBlock const> blocks, FastColumnSums const& job,
                             StreamView stream);

}  // namespace switchyard::cuda
