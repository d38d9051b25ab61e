// SPDX-License-Identifier: Apache-2.0
/// QuantScheme: how values become small codes and scales. Names and parameters only; the arithmetic is
/// core/hd/switchyard/hd/quantize.hpp, docs/experts.md has the table of formulas and special values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace switchyard {

/// absmax = largest magnitude of the values that share a scale, NaNs left out, infinities included.
enum class QuantScheme : std::uint8_t {
  fp8_tensor,          ///< scale given; e4m3(x * (1/s))
  fp8_tensor_dynamic,  ///< s = absmax/448 (1 if absmax is 0); e4m3(x * (1/s))
  fp8_token,           ///< s = max(min(absmax, bound)/448, 1/(448*512)); e4m3(x/s)
  fp8_group,           ///< s = max(absmax, 1e-10)/448; e4m3(x/s)
  fp8_group_ue8m0,     ///< s as fp8_group, raised to the next power of two; e4m3(x/s)
  fp8_deepep,          ///< a = max(absmax, 1e-4), s = a * (1/448); e4m3(x * (448/a))
  int8_token,          ///< a = max(absmax, 1e-10), s = a/127; x * (127/a), halves away from zero
  int8_group,          ///< s = max(absmax, 1e-10)/127; clamp(x/s, -128, 127), cut towards zero
  mxfp8,               ///< blocks of 32; s = absmax/448 raised to the next power of two; e4m3(x/s)
  nvfp4,               ///< blocks of 16; s = e4m3(g * (absmax * (1/6))); e2m1(x * (1/(s * (1/g)))), 0 if s is 0
};
inline constexpr std::array kAllQuantSchemes = {QuantScheme::fp8_tensor,      QuantScheme::fp8_tensor_dynamic,
                                                QuantScheme::fp8_token,       QuantScheme::fp8_group,
                                                QuantScheme::fp8_group_ue8m0, QuantScheme::fp8_deepep,
                                                QuantScheme::int8_token,      QuantScheme::int8_group,
                                                QuantScheme::mxfp8,           QuantScheme::nvfp4};

[[nodiscard]] std::string_view to_string(QuantScheme scheme) noexcept;
[[nodiscard]] std::optional<QuantScheme> parse_quant_scheme(std::string_view name) noexcept;

}  // namespace switchyard
