// SPDX-License-Identifier: Apache-2.0
/// How one logit is read: rounded if wanted; a NaN or +inf is a fault, or has a meaning.
#pragma once

#include <cstdint>

#include "switchyard/hd/convert.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::hd {

/// What a router makes of its logits. -inf is always taken.
struct LogitRules {
  DType round_to = DType::f32;  ///< f32 (no rounding), bf16 or f16
  bool takes_nan = false;       ///< as -inf; otherwise it is a fault
  bool takes_infinity = false;  ///< +inf; otherwise it is a fault
};

enum class LogitFault { none, nan, infinity };

/// Rounds through a narrower dtype; f32 keeps the value.
SWITCHYARD_HD inline float round_through(DType dtype, float value) noexcept {
  if (dtype == DType::bf16) return widen(round_to_bf16(value));
  if (dtype == DType::f16) return widen(round_to_f16(value));
  return value;
}

/// Whether the value is a NaN or +inf, from its bits alone.
SWITCHYARD_HD inline bool is_special_logit(float value) noexcept {
  auto const bits = bits_to<std::uint32_t>(value);
  bool const is_nan = bits << 1 > 0xff000000u;
  return static_cast<bool>(static_cast<int>(is_nan) | static_cast<int>(bits == 0x7f800000u));  // without a branch
}

/// @param value rounded
SWITCHYARD_HD inline LogitFault logit_fault(LogitRules const& rules, float value) noexcept {
  if (!is_special_logit(value)) return LogitFault::none;
  if (value != value) return rules.takes_nan ? LogitFault::none : LogitFault::nan;
  return rules.takes_infinity ? LogitFault::none : LogitFault::infinity;
}

/// What the router computes with: -inf in place of a NaN.
SWITCHYARD_HD inline float usable_logit(float value) noexcept {
  return value != value ? bits_to<float>(0xff800000u) : value;
}

/// Neither infinite nor a NaN, as selection biases and log-sum-exps must be.
SWITCHYARD_HD inline bool is_finite_f32(float value) noexcept {
  return (bits_to<std::uint32_t>(value) & 0x7fffffffu) < 0x7f800000u;
}

}  // namespace switchyard::hd
