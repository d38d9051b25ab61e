// SPDX-License-Identifier: Apache-2.0
/// Activations of expert MLPs and their slopes in fp32: unfused operations in the order written here, on the exp, tanh
/// and erf of math_f32.hpp. Choices compare bits, so that loops vectorise and a NaN goes through.
///
/// The formulas are the peers' kernels taken literally, limits included: silu(-inf) is -inf / inf, a NaN, as there.
#pragma once

#include "switchyard/hd/math_f32.hpp"
#include "switchyard/types/activation.hpp"

namespace switchyard::hd {

namespace detail {

inline constexpr float kQuickSlope = 1.702f;
inline constexpr float kSqrtHalf = 0x1.6a09e6p-1f;          // sqrt(1/2)
inline constexpr float kSqrtTwoOverPi = 0x1.988454p-1f;     // sqrt(2/pi)
inline constexpr float kInverseSqrtTwoPi = 0x1.988454p-2f;  // 1/sqrt(2 pi)
inline constexpr float kTanhCubic = 0.044715f;

/// min(x, bound) for a positive bound; NaN stays.
SWITCHYARD_HD inline float at_most(float x, float bound) noexcept {
  return unless_nan(x, choose(is_negative(x), x, magnitude_at_most(magnitude(x), bound)));
}
/// clamp(x, -bound, bound); NaN stays.
SWITCHYARD_HD inline float clamp(float x, float bound) noexcept {
  return unless_nan(x, with_sign_of(magnitude_at_most(magnitude(x), bound), x));
}
/// max(x, 0): +0 for every negative number; NaN stays.
SWITCHYARD_HD inline float positive_part(float x) noexcept {
  return unless_nan(x, choose(is_negative(x), 0.0f, x));
}
/// x / (1 + e^(-slope x))
SWITCHYARD_HD inline float swish(float x, float slope) noexcept {
  return div_rn(x, add_rn(1.0f, exp(-mul_rn(slope, x))));
}
/// s (1 + slope x (1 - s)), s = sigmoid(slope x)
SWITCHYARD_HD inline float swish_slope(float x, float slope) noexcept {
  float const scaled = mul_rn(slope, x);
  float const s = sigmoid(scaled);
  return mul_rn(s, add_rn(1.0f, mul_rn(scaled, sub_rn(1.0f, s))));
}
SWITCHYARD_HD inline float gelu_tanh_argument(float x) noexcept {
  float const cubed = mul_rn(mul_rn(x, x), x);
  return mul_rn(kSqrtTwoOverPi, add_rn(x, mul_rn(kTanhCubic, cubed)));
}

}  // namespace detail

/// The activation of the gate (gated) or of the only input (plain), before any rounding to the row dtype.
template <Activation kKind>
SWITCHYARD_HD inline float activate(float x, float limit) noexcept {
  if constexpr (kKind == Activation::silu) {
    return detail::swish(x, 1.0f);
  } else if constexpr (kKind == Activation::gelu) {
    return mul_rn(mul_rn(0.5f, x), add_rn(1.0f, erf(mul_rn(x, detail::kSqrtHalf))));
  } else if constexpr (kKind == Activation::gelu_tanh) {
    return mul_rn(mul_rn(0.5f, x), add_rn(1.0f, tanh(detail::gelu_tanh_argument(x))));
  } else if constexpr (kKind == Activation::gelu_quick) {
    return detail::swish(x, detail::kQuickSlope);
  } else if constexpr (kKind == Activation::relu2) {
    float const positive = detail::positive_part(x);
    return mul_rn(positive, positive);
  } else if constexpr (kKind == Activation::swigluoai) {
    return detail::swish(detail::at_most(x, limit), detail::kQuickSlope);
  } else {
    return detail::swish(detail::at_most(x, limit), 1.0f);
  }
}

/// What the activated gate is multiplied with.
template <Activation kKind>
SWITCHYARD_HD inline float up_term(float up, float limit) noexcept {
  if constexpr (kKind == Activation::swigluoai) return add_rn(detail::clamp(up, limit), 1.0f);
  if constexpr (kKind == Activation::swiglu_limit) return detail::clamp(up, limit);
  return up;
}

/// d activate / dx. At the bound of a clamp the slope is that of the inside, beyond it 0.
template <Activation kKind>
SWITCHYARD_HD inline float activation_slope(float x, float limit) noexcept {
  if constexpr (kKind == Activation::silu) {
    return detail::swish_slope(x, 1.0f);
  } else if constexpr (kKind == Activation::gelu) {
    float const half_sum = mul_rn(0.5f, add_rn(1.0f, erf(mul_rn(x, detail::kSqrtHalf))));
    float const density = mul_rn(detail::kInverseSqrtTwoPi, exp(mul_rn(-0.5f, mul_rn(x, x))));
    return add_rn(half_sum, mul_rn(x, density));
  } else if constexpr (kKind == Activation::gelu_tanh) {
    float const t = tanh(detail::gelu_tanh_argument(x));
    float const inner =
        mul_rn(detail::kSqrtTwoOverPi, add_rn(1.0f, mul_rn(mul_rn(3.0f, detail::kTanhCubic), mul_rn(x, x))));
    float const curve = mul_rn(mul_rn(mul_rn(0.5f, x), sub_rn(1.0f, mul_rn(t, t))), inner);
    return add_rn(mul_rn(0.5f, add_rn(1.0f, t)), curve);
  } else if constexpr (kKind == Activation::gelu_quick) {
    return detail::swish_slope(x, detail::kQuickSlope);
  } else if constexpr (kKind == Activation::relu2) {
    return mul_rn(2.0f, detail::positive_part(x));
  } else {
    float const slope = kKind == Activation::swigluoai ? detail::kQuickSlope : 1.0f;
    bool const beyond = !detail::is_negative(x) && detail::magnitude_below(limit, x);
    return detail::unless_nan(x, detail::choose(beyond, 0.0f, detail::swish_slope(x, slope)));
  }
}

/// d up_term / d up: 1, or 0 beyond a clamp.
template <Activation kKind>
SWITCHYARD_HD inline float up_slope(float up, float limit) noexcept {
  if constexpr (kKind == Activation::swigluoai || kKind == Activation::swiglu_limit) {
    bool const beyond = detail::magnitude_below(limit, detail::magnitude(up));
    return detail::unless_nan(up, detail::choose(beyond, 0.0f, 1.0f));
  } else {
    return 1.0f;
  }
}

}  // namespace switchyard::hd
