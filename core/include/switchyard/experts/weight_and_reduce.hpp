// SPDX-License-Identifier: Apache-2.0
/// WeightAndReduce: who multiplies expert outputs with router weights and sums them per token, and in which order.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "switchyard/experts/row_formats.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard {

enum class WeightAndReduce : std::uint8_t {
  delegate,    ///< the finalize step decides; running it is an error
  no_op,       ///< the experts' output is per token already: it is copied
  contiguous,  ///< per token over its slots ascending: fp32, multiply then add, one rounding at the end
  batched,     ///< per token over local experts ascending, then slots: the same arithmetic in that order
};
[[nodiscard]] std::string_view to_string(WeightAndReduce kind) noexcept;

/// Sums expert rows per token. Terms of -1 pairs are left out; a token without terms is +0.
/// @param rows    no_op: [tokens, H]; contiguous and batched: [grouping rows, H], of the dtype of `output`
/// @param weights [tokens * top_k]; empty = 1 without a multiplication (weights were applied to the input)
/// @param output  [tokens, H] f32, bf16 or f16; written whole, may be the memory of `rows` for no_op
/// @throws Error{unsupported} for delegate, Error{shape_mismatch} naming the operand
/// @note where peers differ from `contiguous`: vLLM rounds each product to the row dtype in place and its sum's
/// accumulator depends on top_k; here fp32 is the named order of the recipe source_slot_order.
void weight_and_reduce(WeightAndReduce kind, RowGrouping const& grouping, ConstTensorView const& rows,
                       std::span<float const> weights, TensorView const& output);

/// The gradients of weight_and_reduce(), the same for contiguous and batched: roundings count as the identity.
///   d_rows[r] = weight * gradient of its token: to fp32, then to the dtype
///   d_weights[flat] = lane32 sum over H of row * gradient of the token, products rounded first; +0 without a row
/// @param rows, d_rows [grouping rows, H], d_output [tokens, H] of one dtype; d_rows may be the memory of `rows`; its
/// rows without a pair are left alone
/// @param weights as above; empty = 1, whose gradients are computed all the same. @param d_weights [tokens * top_k]
/// @throws Error{shape_mismatch} naming the operand
void weight_and_reduce_backward(RowGrouping const& grouping, ConstTensorView const& rows,
                                std::span<float const> weights, ConstTensorView const& d_output,
                                TensorView const& d_rows, std::span<float> d_weights);

}  // namespace switchyard
