// SPDX-License-Identifier: Apache-2.0
/// softmax, log-sum-exp and their gradient over one row, and the division of a row by its sum or norm. Sums are lane32.
/// A crew computes the row (crew.hpp); without one, a thread alone.
///
/// Rows hold no NaN and no +inf (the router refuses them before); -inf is a legal score of weight 0.
#pragma once

#include <cstdint>

#include "switchyard/hd/crew.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/hd/math_f32.hpp"
#include "switchyard/types/score_function.hpp"

namespace switchyard::hd {

namespace detail {

/// An integer that orders like the number (-0 below +0). Integer maxima vectorise; the map is its own inverse.
SWITCHYARD_HD inline std::int32_t order_key(std::int32_t float_bits) noexcept {
  return float_bits ^ ((float_bits >> 31) & 0x7fffffff);
}

SWITCHYARD_HD inline float divisor_or_one(float divisor) noexcept {
  return divisor == 0.0f ? 1.0f : divisor;
}

}  // namespace detail

/// The largest of `count` >= 1 numbers; no rounding, so its order is free.
template <typename Crew>
SWITCHYARD_HD inline float row_max(Crew const& crew, float const* values, std::int64_t count) noexcept {
  return bits_to<float>(detail::order_key(
      crew.largest(count, [=](std::int64_t i) { return detail::order_key(bits_to<std::int32_t>(values[i])); })));
}

/// What softmax subtracts: the largest value, or 0 for a row of -inf, whose terms are then all 0.
template <typename Crew>
SWITCHYARD_HD inline float softmax_shift(Crew const& crew, float const* values, std::int64_t count) noexcept {
  float const largest = row_max(crew, values, count);
  return bits_to<std::uint32_t>(largest) == 0xff800000u ? 0.0f : largest;
}

/// e^(value - shift), the terms of a softmax's sum.
struct ShiftedExp {
  float const* values;
  float shift;
  SWITCHYARD_HD float operator()(std::int64_t i) const noexcept { return exp(sub_rn(values[i], shift)); }
};

/// out[i] = e^(values[i] - max) / sum; a row of -inf gives zeros. `out` may be `values`. count >= 1.
template <typename Crew>
SWITCHYARD_HD inline void softmax(Crew const& crew, float const* values, std::int64_t count, float* out) noexcept {
  ShiftedExp const term{values, softmax_shift(crew, values, count)};
  crew.write(count, out, term);
  float const divisor = detail::divisor_or_one(crew.sum(count, Elements{out}));
  crew.write(count, out, [=](std::int64_t i) { return div_rn(out[i], divisor); });
}
SWITCHYARD_HD inline void softmax(float const* values, std::int64_t count, float* out) noexcept {
  softmax(Alone{}, values, count, out);
}

/// max + ln(sum e^(value - max)); a row of -inf gives -inf. count >= 1.
template <typename Crew>
SWITCHYARD_HD inline float log_sum_exp(Crew const& crew, float const* values, std::int64_t count) noexcept {
  ShiftedExp const term{values, softmax_shift(crew, values, count)};
  return add_rn(term.shift, log(crew.sum(count, term)));
}
SWITCHYARD_HD inline float log_sum_exp(float const* values, std::int64_t count) noexcept {
  return log_sum_exp(Alone{}, values, count);
}

/// The gradient at softmax's input from that at its output: p_i * (g_i - sum_j g_j p_j). `out` may be `gradient`.
template <typename Crew>
SWITCHYARD_HD inline void softmax_gradient(Crew const& crew, float const* probabilities, float const* gradient,
                                           std::int64_t count, float* out) noexcept {
  float const mean = crew.sum(count, Products{gradient, probabilities});
  crew.write(count, out, [=](std::int64_t i) { return mul_rn(probabilities[i], sub_rn(gradient[i], mean)); });
}
SWITCHYARD_HD inline void softmax_gradient(float const* probabilities, float const* gradient, std::int64_t count,
                                           float* out) noexcept {
  softmax_gradient(Alone{}, probabilities, gradient, count, out);
}

/// What normalise() divides by: the row's sum or norm, plus epsilon; 1 where that is 0.
struct NormaliseDivisor {
  float divisor;
  float norm;  ///< without epsilon
};
template <typename Crew>
SWITCHYARD_HD inline NormaliseDivisor normalise_divisor(Crew const& crew, Normalisation kind, float const* values,
                                                        std::int64_t count, float epsilon) noexcept {
  float const norm =
      kind == Normalisation::sum ? crew.sum(count, Elements{values}) : sqrt(crew.sum(count, Products{values, values}));
  return {detail::divisor_or_one(add_rn(norm, epsilon)), norm};
}

template <typename Crew>
SWITCHYARD_HD inline void normalise(Crew const& crew, Normalisation kind, float* values, std::int64_t count,
                                    float epsilon) noexcept {
  if (kind == Normalisation::none) return;
  float const divisor = normalise_divisor(crew, kind, values, count, epsilon).divisor;
  crew.write(count, values, [=](std::int64_t i) { return div_rn(values[i], divisor); });
}

/// The gradient at normalise()'s input. sum: (g_i - sum_j g_j v_j) / divisor with v the normalised values; l2: the
/// inner product is multiplied by values_i / norm. In place on `gradient`; `values` are those before normalising.
template <typename Crew>
SWITCHYARD_HD inline void normalise_gradient(Crew const& crew, Normalisation kind, float const* values,
                                             std::int64_t count, float epsilon, float* gradient) noexcept {
  if (kind == Normalisation::none) return;
  NormaliseDivisor const by = normalise_divisor(crew, kind, values, count, epsilon);
  float const inner = div_rn(crew.sum(count, Products{gradient, values}), by.divisor);
  float const norm = detail::divisor_or_one(by.norm);
  crew.write(count, gradient, [=](std::int64_t i) {
    float const share = kind == Normalisation::sum ? inner : mul_rn(inner, div_rn(values[i], norm));
    return div_rn(sub_rn(gradient[i], share), by.divisor);
  });
}

}  // namespace switchyard::hd
