// SPDX-License-Identifier: Apache-2.0
/// Launchers of the sums of every combine recipe and of their gradients, over the arithmetic of core/hd.
#pragma once

#include <cstdint>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cuda {

/// How a term is made and added (hd/recipes.hpp), with the types of terms and sums.
enum class SumStep : std::uint8_t {
  fp32_product,  ///< row -> row, f32 or bf16; float weights
  row_product,   ///< row -> row; float weights
  fp64_product,  ///< row -> f64; double weights
  join_f32,      ///< row, f32 or bf16 -> row; no weights
  join_f64,      ///< f64 -> row; no weights
};

/// Sum s adds the terms i in [term_begin[s], term_begin[s + 1]), ascending: weights[i] * rows[term_rows[i]]. Device.
struct SumRowsParams {
  void const* rows;  ///< [*, columns] of `row_dtype`
  DType row_dtype;
  void* output;  ///< [num_sums, columns] of `out_dtype`
  DType out_dtype;
  std::int64_t const* term_begin;  ///< [num_sums + 1]
  std::int64_t const* term_rows;   ///< a negative row adds nothing
  void const* weights;             ///< float or double, as the step says
  std::int64_t num_sums;
  std::int64_t columns;
};
/// All launchers: asynchronous in `stream`, no allocation, capturable.
/// @throws Error{unsupported} for types that the step does not have, Error{cuda} if the launch is refused.
void launch_sum_rows(SumStep step, SumRowsParams const& params, StreamView stream);

/// The recipe `exact`. `weights` are double when `weights_f64`, else float.
struct ExactSumParams {
  SumRowsParams sum;
  bool weights_f64;
  void const* shared;  ///< [num_sums, columns] of out_dtype, terms of weight 1, or null
};
void launch_exact_rows(ExactSumParams const& params, StreamView stream);
/// Wide accumulators to the wire, [num_sums, columns] states of exact_state_bytes() each; row_dtype names the rows.
void launch_exact_partials(ExactSumParams const& params, StreamView stream);
/// States of `row_dtype` rows joined and rounded once to row_dtype.
void launch_exact_join(ExactSumParams const& params, StreamView stream);
[[nodiscard]] std::int64_t exact_state_bytes(DType row_dtype, bool weights_f64);

/// output[i] = weights[index[i]], rounded from f64 to f32 where the types say so.
struct GatherWeightsParams {
  void const* weights;
  bool weights_f64;
  void* output;
  bool output_f64;
  std::int64_t const* index;  ///< [count], or null for all weights in order
  std::int64_t count;
  unsigned long long* first_nan;  ///< receives the least index[i] with a NaN weight, by atomic minimum; or null
};
void launch_gather_weights(GatherWeightsParams const& params, StreamView stream);

/// What is added in fp32 to tree sums before they are rounded: element i of a sum is column i % columns of row
/// i / columns, and the row belongs to expert_of_row[i / columns]. Device memory.
struct TreeBias {
  void const* values = nullptr;  ///< [experts, columns] of `dtype`; null: none
  DType dtype = DType::f32;
  std::int32_t const* expert_of_row = nullptr;
  std::int64_t columns = 1;
};

/// Adds `terms` blocks of `elements` floats over the fixed tree (hd/tree_sum.hpp), then the bias, and rounds.
/// Overwrites `partials`.
struct TreeSumParams {
  float* partials;
  std::int64_t elements;
  std::int64_t terms;
  void* output;
  DType out_dtype;
  TreeBias bias{};
};
void launch_tree_sum(TreeSumParams const& params, StreamView stream);

/// sums[i] = round(sums[i] + shared[i]). @param dtype of both
void launch_add_shared(void* sums, void const* shared, std::int64_t elements, DType dtype, StreamView stream);

/// One entry per source row: its row, its token, its place in the weights. Entries with a negative row are passed over.
struct SourceRowsParams {
  std::int64_t const* rows;
  std::int64_t const* tokens;
  std::int64_t const* weight_index;
  std::int64_t count;
  std::int64_t columns;
  DType dtype;
};
/// output[rows[i]] = weights[i] * gradients[tokens[i]], rounded to fp32 and then to the dtype.
void launch_weigh_rows(SourceRowsParams const& params, void const* gradients, float const* weights, void* output,
                       StreamView stream);
/// output[weight_index[i]] = <results[rows[i]], gradients[tokens[i]]> in lane32 order.
void launch_dot_rows(SourceRowsParams const& params, void const* gradients, void const* results, float* output,
                     StreamView stream);

}  // namespace switchyard::cuda
