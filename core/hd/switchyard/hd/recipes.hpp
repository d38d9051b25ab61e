// SPDX-License-Identifier: Apache-2.0
/// The arithmetic of the rounding combine recipes (dispatch/combine_recipe.hpp): a step per way to make and add a term,
/// run by combine_element (one kernel thread) or combine_row (one CPU row). recipes_exact.hpp holds the exact one.
///
/// | recipe                                | phase                | Step                        | rows -> sum       |
/// | source_slot_order                     | at the source        | Fp32Product                 | Row -> Row        |
/// | source_expert_order                   | at the source        | Fp32Product, experts sorted | Row -> Row        |
/// | rank_partial                          | at the experts' rank | Fp32Product                 | Row -> Wire       |
/// |                                       | at the source        | JoinPartials<float>         | Wire -> Row       |
/// | megatron_allgather, fp32 weights      | at the experts' rank | Fp32Product                 | Row -> float      |
/// |                                       | at the source        | JoinPartials<float>         | float -> Row      |
/// | megatron_allgather, fp64 weights      | at the experts' rank | Fp64Product                 | Row -> double     |
/// |                                       | at the source        | JoinPartials<double>        | double -> Row     |
/// | megablocks                            | at the source        | RowProduct                  | Row -> Row        |
/// | exchange of ready products            | at the source        | JoinPartials<float>         | Row -> Row        |
///
/// The caller's row list carries the order: slots, logical experts, local experts or ranks ascending. All sums start at
/// +0, multiplies and adds are never fused, NaNs are stored canonically, and a token without rows gives +0. A rank that
/// holds none of a token's experts may be left out of the join or send +0: x + 0 changes no sum that started at +0.
#pragma once

#include "switchyard/hd/combine_step.hpp"
#include "switchyard/hd/exact_sum_format.hpp"

namespace switchyard::hd {

/// The product is rounded to the row dtype before it is added in fp32. Source: MegaBlocks' scatter, which stores
/// products and sums them afterwards; also a Megatron expert that weights its rows before they travel.
struct RowProduct : Fp32Product {
  template <typename T>
  static SWITCHYARD_HD T product(float weight, T x) noexcept {
    return narrow<T>(mul_rn(weight, widen(x)));
  }
  template <typename T>
  static SWITCHYARD_HD float add(float acc, float weight, T x) noexcept {
    return add_rn(acc, widen(product(weight, x)));
  }
};

/// fp64 weights promote: product and sum in fp64, one rounding of the finished sum.
struct Fp64Product {
  using Weight = double;
  using Sum = double;
  static SWITCHYARD_HD Weight weight_of(Weight const* row_weights, std::int64_t slot) noexcept {
    return row_weights[slot];
  }
  template <typename T>
  static SWITCHYARD_HD Sum add(Sum acc, Weight weight, T x) noexcept {
    return mul_then_add(weight, static_cast<double>(widen(x)), acc);
  }
  template <typename Out>
  static SWITCHYARD_HD Out finish(Sum acc) noexcept {
    return narrow_double<Out>(acc);
  }
};

/// Adds rows that are sums or products already. Weights are not read: pass a null pointer.
template <typename Accumulator>
struct JoinPartials;

template <>
struct JoinPartials<float> {
  using Weight = float;
  using Sum = float;
  static SWITCHYARD_HD Weight weight_of(Weight const*, std::int64_t) noexcept { return 1.0f; }
  template <typename T>
  static SWITCHYARD_HD Sum add(Sum acc, Weight, T x) noexcept {
    return add_rn(acc, widen(x));
  }
  template <typename Out>
  static SWITCHYARD_HD Out finish(Sum acc) noexcept {
    return narrow<Out>(acc);
  }
};

template <>
struct JoinPartials<double> {
  using Weight = double;
  using Sum = double;
  static SWITCHYARD_HD Weight weight_of(Weight const*, std::int64_t) noexcept { return 1.0; }
  static SWITCHYARD_HD Sum add(Sum acc, Weight, double x) noexcept { return add_rn(acc, x); }
  template <typename Out>
  static SWITCHYARD_HD Out finish(Sum acc) noexcept {
    return narrow_double<Out>(acc);
  }
};

/// Phase 1 of the rank sums: one element of a rank's partial, its own rows of the token in ascending local expert.
template <typename Wire, typename T>
SWITCHYARD_HD inline Wire rank_partial_element(T const* rows, std::int64_t row_stride, std::int64_t column,
                                               std::int64_t const* token_rows, float const* row_weights,
                                               std::int64_t count) noexcept {
  return combine_element<T, Wire>(rows, row_stride, column, token_rows, row_weights, count);
}

/// Phase 2: one element of the result, the partials of the token in ascending rank.
template <typename Out, typename Wire>
SWITCHYARD_HD inline Out join_partials_element(Wire const* partials, std::int64_t row_stride, std::int64_t column,
                                               std::int64_t const* token_partials, std::int64_t count) noexcept {
  return combine_element<Wire, Out, JoinPartials<float>>(partials, row_stride, column, token_partials, nullptr, count);
}

/// Both phases with fp64 weights.
template <typename T>
SWITCHYARD_HD inline double promoted_partial_element(T const* rows, std::int64_t row_stride, std::int64_t column,
                                                     std::int64_t const* token_rows, double const* row_weights,
                                                     std::int64_t count) noexcept {
  return combine_element<T, double, Fp64Product>(rows, row_stride, column, token_rows, row_weights, count);
}
template <typename Out>
SWITCHYARD_HD inline Out join_promoted_element(double const* partials, std::int64_t row_stride, std::int64_t column,
                                               std::int64_t const* token_partials, std::int64_t count) noexcept {
  return combine_element<double, Out, JoinPartials<double>>(partials, row_stride, column, token_partials, nullptr,
                                                            count);
}

/// megablocks, one element.
template <typename T>
SWITCHYARD_HD inline T megablocks_element(T const* rows, std::int64_t row_stride, std::int64_t column,
                                          std::int64_t const* token_rows, float const* row_weights,
                                          std::int64_t count) noexcept {
  return combine_element<T, T, RowProduct>(rows, row_stride, column, token_rows, row_weights, count);
}

/// SharedExpert::after_rounding, one element: the rounded sum plus the shared expert's row, rounded again.
template <typename T>
SWITCHYARD_HD inline T add_shared_expert(T sum, T shared) noexcept {
  return narrow<T>(add_rn(widen(sum), widen(shared)));
}

}  // namespace switchyard::hd
