// SPDX-License-Identifier: Apache-2.0
/// The one spelling of float arithmetic: round to nearest even, and never fused unless the name says so.
///
/// On the device these are intrinsics that the compiler may not contract; on the host plain operators under
/// -ffp-contract=off (cmake/SwitchyardTargets.cmake), which a test checks in the generated code.
#pragma once

#include <cmath>

#include "switchyard/hd/bits.hpp"

namespace switchyard::hd {

#if defined(__CUDA_ARCH__)
SWITCHYARD_HD inline float add_rn(float a, float b) noexcept {
  return __fadd_rn(a, b);
}
SWITCHYARD_HD inline float sub_rn(float a, float b) noexcept {
  return __fsub_rn(a, b);
}
SWITCHYARD_HD inline float mul_rn(float a, float b) noexcept {
  return __fmul_rn(a, b);
}
SWITCHYARD_HD inline float div_rn(float a, float b) noexcept {
  return __fdiv_rn(a, b);
}
SWITCHYARD_HD inline float fma_rn(float a, float b, float c) noexcept {
  return __fmaf_rn(a, b, c);
}
SWITCHYARD_HD inline double add_rn(double a, double b) noexcept {
  return __dadd_rn(a, b);
}
SWITCHYARD_HD inline double sub_rn(double a, double b) noexcept {
  return __dsub_rn(a, b);
}
SWITCHYARD_HD inline double mul_rn(double a, double b) noexcept {
  return __dmul_rn(a, b);
}
SWITCHYARD_HD inline double div_rn(double a, double b) noexcept {
  return __ddiv_rn(a, b);
}
SWITCHYARD_HD inline float sqrt_rn(float a) noexcept {
  return __fsqrt_rn(a);
}
SWITCHYARD_HD inline double sqrt_rn(double a) noexcept {
  return __dsqrt_rn(a);
}
#else
SWITCHYARD_HD inline float add_rn(float a, float b) noexcept {
  return a + b;
}
SWITCHYARD_HD inline float sub_rn(float a, float b) noexcept {
  return a - b;
}
SWITCHYARD_HD inline float mul_rn(float a, float b) noexcept {
  return a * b;
}
SWITCHYARD_HD inline float div_rn(float a, float b) noexcept {
  return a / b;
}
SWITCHYARD_HD inline float fma_rn(float a, float b, float c) noexcept {
  return std::fma(a, b, c);
}
SWITCHYARD_HD inline double add_rn(double a, double b) noexcept {
  return a + b;
}
SWITCHYARD_HD inline double sub_rn(double a, double b) noexcept {
  return a - b;
}
SWITCHYARD_HD inline double mul_rn(double a, double b) noexcept {
  return a * b;
}
SWITCHYARD_HD inline double div_rn(double a, double b) noexcept {
  return a / b;
}
SWITCHYARD_HD inline float sqrt_rn(float a) noexcept {
  return std::sqrt(a);
}
SWITCHYARD_HD inline double sqrt_rn(double a) noexcept {
  return std::sqrt(a);
}
#endif

/// acc + a * b in two roundings: the step of every combine.
SWITCHYARD_HD inline float mul_then_add(float a, float b, float acc) noexcept {
  return add_rn(acc, mul_rn(a, b));
}
SWITCHYARD_HD inline double mul_then_add(double a, double b, double acc) noexcept {
  return add_rn(acc, mul_rn(a, b));
}

/// Minimum and maximum by comparison: a NaN on either side gives the canonical NaN, and -0 counts as below +0, so that
/// the result does not depend on the order of the operands. (fminf drops NaNs; x86 minss returns its second operand.)
SWITCHYARD_HD inline float min_propagate(float a, float b) noexcept {
  if (a != a || b != b) return bits_to<float>(kCanonicalNan32);
  if (a == b) return bits_to<float>(bits_to<std::uint32_t>(a) | bits_to<std::uint32_t>(b));
  return a < b ? a : b;
}
SWITCHYARD_HD inline float max_propagate(float a, float b) noexcept {
  if (a != a || b != b) return bits_to<float>(kCanonicalNan32);
  if (a == b) return bits_to<float>(bits_to<std::uint32_t>(a) & bits_to<std::uint32_t>(b));
  return a < b ? b : a;
}

}  // namespace switchyard::hd
