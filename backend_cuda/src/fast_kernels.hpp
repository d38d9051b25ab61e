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

/// to[first[b] + i] = from[blocks[b].first_row + i] for every row i of every block b.
void launch_gather_blocks(std::span<switchyard::RowBlock const> blocks, std::span<std::int64_t const> first,
                          float const* from, float* to, StreamView stream);

}  // namespace switchyard::cuda
