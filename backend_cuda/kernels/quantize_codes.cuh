// SPDX-License-Identifier: Apache-2.0
/// The codes of hd/quantize.hpp by fewer instructions: hardware conversions, divisions by one divisor, rounding by
/// addition. cuda_quantize_checks compares each with hd's function over all floats.
#pragma once

#include <cstdint>

#include "quantize_kernels.hpp"
#include "switchyard/hd/quantize.hpp"

namespace switchyard::cuda {

/// Division of many values by one divisor: the reciprocal once, then two corrections by exact remainders. With a
/// correctly rounded reciprocal the first makes the quotient faithful, the second correctly rounded, as long as no
/// remainder underflows (quotients that small become zero codes) and nothing overflows; elsewhere hd::div_rn.
struct SharedDivisor {
  float divisor;
  float reciprocal;
  bool plain;  ///< every quotient by hd::div_rn, every code by hd

  /// @param largest no dividend has a greater magnitude, NaNs aside. @param with_nan whether there may be any
  __device__ SharedDivisor(float by, float largest, bool with_nan) {
    divisor = by;
    reciprocal = __frcp_rn(by);
    plain = with_nan || !(by >= 0x1p-90f && by <= 0x1p+120f && largest <= __fmul_rn(by, 0x1p+10f));
  }
  __device__ float operator()(float x) const { return plain ? plainly(x) : quickly(x); }
  __device__ float plainly(float x) const { return hd::div_rn(x, divisor); }
  __device__ float quickly(float x) const {
    float const near = __fmul_rn(x, reciprocal);
    float const faithful = __fmaf_rn(__fmaf_rn(-divisor, near, x), reciprocal, near);
    float const quotient = __fmaf_rn(__fmaf_rn(-divisor, faithful, x), reciprocal, faithful);
    return __uint_as_float(__float_as_uint(quotient) | (__float_as_uint(x) & 0x80000000u));  // for -0
  }
};

/// hd::encode_e4m3 of two values, the first in the low byte.
__device__ inline std::uint32_t e4m3_pair(float low, float high) {
#if __CUDA_ARCH__ >= 890
  std::uint16_t codes;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
  return codes;
#else
  return hd::encode_e4m3(low) | (hd::encode_e4m3(high) << 8);
#endif
}

namespace detail {
/// Adding it to a number below 2^22 leaves the nearest integer, ties to even, in the low bits.
inline constexpr float kWhole = 0x1p+23f;

__device__ inline std::uint32_t signed_byte(std::uint32_t magnitude, float x) {
  std::uint32_t const value = x < 0.0f ? 0u - magnitude : magnitude;
  return x == x ? value & 0xffu : 0u;
}
}  // namespace detail

/// hd::encode_int8_round: to the nearest, ties away from zero.
__device__ inline std::uint32_t int8_rounded(float x) {
  float const size = fminf(fabsf(x), 127.0f);
  float const moved = __fadd_rn(size, detail::kWhole);
  float const rest = __fsub_rn(size, __fsub_rn(moved, detail::kWhole));
  return detail::signed_byte((__float_as_uint(moved) & 0xffu) + (rest == 0.5f ? 1u : 0u), x);
}

/// hd::encode_int8_truncate of a number of magnitude below 128: cut towards zero.
__device__ inline std::uint32_t int8_truncated(float x) {
  float const unit = __uint_as_float((__float_as_uint(x) & 0x80000000u) | __float_as_uint(detail::kWhole));
  float const whole = __fsub_rn(__fadd_rz(x, unit), unit);
  return __float_as_uint(__fadd_rn(whole, 0x1.8p+23f)) & 0xffu;  // the low bits of its two's complement
}

/// hd::encode_e2m1 of a number. Codes count steps of 1/2 below 2, of 1 below 4 and of 2 above, so the code is the least
/// of three roundings, each offset to where its steps begin; ties to even steps are ties to even codes.
__device__ inline std::uint32_t e2m1_code(float x) {
  float const size = fminf(fabsf(x), 6.0f);
  std::uint32_t const halves = __float_as_uint(__fadd_rn(size, 0x1p+22f)) - 0x4a800000u;
  std::uint32_t const ones = __float_as_uint(__fadd_rn(size, 0x1p+23f)) - (0x4b000000u - 2u);
  std::uint32_t const twos = __float_as_uint(__fadd_rn(size, 0x1p+24f)) - (0x4b800000u - 4u);
  std::uint32_t const low = halves < ones ? halves : ones;
  return (low < twos ? low : twos) | ((__float_as_uint(x) >> 28) & 8u);
}

/// Multiplication with one factor.
struct SharedFactor {
  float factor;
  bool plain;  ///< there may be NaNs: every code by hd
  __device__ float plainly(float x) const { return hd::mul_rn(x, factor); }
  __device__ float quickly(float x) const { return hd::mul_rn(x, factor); }
};

/// Codes of eight values of one group, packed as they are stored: a word for half bytes, two for bytes.
template <QuantScheme kScheme, bool kPlain, typename Scale>
__device__ inline void encode_eight_as(float const (&x)[8], Scale const& scale, std::uint32_t (&words)[2]) {
  words[0] = words[1] = 0;
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
    float const a = kPlain ? scale.plainly(x[i]) : scale.quickly(x[i]);
    float const b = kPlain ? scale.plainly(x[i + 1]) : scale.quickly(x[i + 1]);
    if constexpr (kScheme == QuantScheme::nvfp4) {
      std::uint32_t const low = kPlain ? hd::encode_e2m1(a) : e2m1_code(a);
      words[0] |= (low | ((kPlain ? hd::encode_e2m1(b) : e2m1_code(b)) << 4)) << (4 * i);
    } else if constexpr (kScheme == QuantScheme::int8_token) {
      words[i / 4] |= (int8_rounded(a) | (int8_rounded(b) << 8)) << (8 * (i % 4));
    } else if constexpr (kScheme == QuantScheme::int8_group) {
      std::uint32_t const low = kPlain ? hd::encode_int8_truncate(a) : int8_truncated(a);
      words[i / 4] |= (low | ((kPlain ? hd::encode_int8_truncate(b) : int8_truncated(b)) << 8)) << (8 * (i % 4));
    } else {
      words[i / 4] |= e4m3_pair(a, b) << (8 * (i % 4));
    }
  }
}

/// Whether the short ways to a code miss NaNs or quotients of some groups.
template <QuantScheme kScheme>
inline constexpr bool kHasPlainWay = hd::divides(kScheme) || kScheme == QuantScheme::nvfp4;

template <QuantScheme kScheme, typename Scale>
__device__ inline void encode_eight(float const (&x)[8], Scale const& scale, std::uint32_t (&words)[2]) {
  if constexpr (kHasPlainWay<kScheme>) {
    if (scale.plain) return encode_eight_as<kScheme, true>(x, scale, words);
  }
  encode_eight_as<kScheme, false>(x, scale, words);
}

/// hd::group_scale with what all groups share computed once.
template <QuantScheme kScheme>
__device__ inline hd::GroupScale group_scale_of(float absmax, QuantizeJob const& job) {
  if constexpr (kScheme == QuantScheme::nvfp4) {
    constexpr float kSixth = 1.0f / 6.0f;
    float const wanted = hd::mul_rn(job.parameters.tensor_scale, hd::mul_rn(absmax, kSixth));
    std::uint32_t const code = e4m3_pair(wanted, 0.0f) & 0xffu;
    float const scale = hd::detail::e4m3_value(code);
    float const inverse = __frcp_rn(hd::mul_rn(scale, job.inverse_tensor_scale));
    return {scale, code == 0 ? 0.0f : inverse, static_cast<std::uint8_t>(code)};
  } else {
    return hd::group_scale<kScheme>(absmax, job.parameters);
  }
}

/// How values of a group become what is encoded.
template <QuantScheme kScheme>
__device__ inline auto scaling_of(hd::GroupScale const& scale, float absmax, bool with_nan) {
  if constexpr (hd::divides(kScheme)) {
    return SharedDivisor(scale.factor, absmax, with_nan);
  } else {
    return SharedFactor{scale.factor, with_nan};
  }
}

template <QuantScheme kScheme>
inline constexpr bool kByteScale =
    kScheme == QuantScheme::fp8_group_ue8m0 || kScheme == QuantScheme::mxfp8 || kScheme == QuantScheme::nvfp4;

}  // namespace switchyard::cuda
