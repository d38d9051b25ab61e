// SPDX-License-Identifier: Apache-2.0
/// Quantisers as plain formulas: codes by searching the table of a format's values, scales with float operators in the
/// order that the peers' kernels use.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace oracle {

/// Values of the codes 0, 1, 2, ... without sign, ascending.
inline std::vector<double> e4m3_values() {
  std::vector<double> values;
  for (int code = 0; code < 0x7f; ++code) {
    int const exponent = code / 8;
    int const fraction = code % 8;
    values.push_back(exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10));
  }
  return values;
}
inline std::vector<double> e2m1_values() {
  return {0, 0.5, 1, 1.5, 2, 3, 4, 6};
}

/// Nearest code of a magnitude, ties to the even code, the largest one beyond it.
inline unsigned nearest_code(std::vector<double> const& values, double magnitude) {
  if (magnitude >= values.back()) return static_cast<unsigned>(values.size() - 1);
  auto const above =
      static_cast<std::size_t>(std::upper_bound(values.begin(), values.end(), magnitude) - values.begin());
  double const middle = (values[above - 1] + values[above]) / 2;
  if (magnitude != middle) return static_cast<unsigned>(magnitude < middle ? above - 1 : above);
  return static_cast<unsigned>(above % 2 == 0 ? above : above - 1);
}

inline unsigned e4m3_code(float x) {
  static std::vector<double> const values = e4m3_values();
  if (std::isnan(x)) return 0x7f;
  return nearest_code(values, std::fabs(static_cast<double>(x))) | (std::signbit(x) ? 0x80u : 0u);
}
inline unsigned e2m1_code(float x) {
  static std::vector<double> const values = e2m1_values();
  if (std::isnan(x)) return 7;
  return nearest_code(values, std::fabs(static_cast<double>(x))) | (std::signbit(x) ? 8u : 0u);
}

/// The smallest 2^k >= x with k in [-127, 127], as its biased exponent.
inline unsigned power_at_least(float x) {
  if (std::isinf(x)) return 254;
  for (int k = -127; k < 127; ++k)
    if (std::ldexp(1.0, k) >= static_cast<double>(x)) return static_cast<unsigned>(k + 127);
  return 254;
}
inline float power(unsigned code) {
  return static_cast<float>(std::ldexp(1.0, static_cast<int>(code) - 127));
}
inline unsigned byte_of(float integer) {
  return static_cast<unsigned>(static_cast<int>(integer)) & 0xffu;
}

/// What a group of values becomes.
struct QuantGroup {
  float scale = 0;    ///< stored, f32 schemes
  unsigned code = 0;  ///< stored, e8m0 and e4m3 schemes
  std::vector<unsigned> values{};
};

/// @param largest  absmax of the group (of the tensor, for dynamic per-tensor scales), NaNs left out
/// @param parameter given scale, upper bound or tensor scale, as the scheme has one
inline QuantGroup quantise_group(std::string const& scheme, std::vector<float> const& x, float largest,
                                 float parameter) {
  QuantGroup group;
  auto const each = [&](auto const& code) {
    for (float const value : x) group.values.push_back(code(value));
  };
  if (scheme == "fp8_tensor" || scheme == "fp8_tensor_dynamic") {
    group.scale = scheme == "fp8_tensor" ? parameter : largest == 0 ? 1.0f : largest / 448.0f;
    float const inverse = 1.0f / group.scale;
    each([&](float v) { return e4m3_code(v * inverse); });
  } else if (scheme == "fp8_token") {
    group.scale = std::max(std::min(largest, parameter) / 448.0f, 1.0f / (448.0f * 512.0f));
    each([&](float v) { return e4m3_code(v / group.scale); });
  } else if (scheme == "fp8_group") {
    group.scale = std::max(1e-10f, largest) / 448.0f;
    each([&](float v) { return e4m3_code(v / group.scale); });
  } else if (scheme == "fp8_group_ue8m0") {
    group.code = power_at_least(std::max(std::max(1e-10f, largest) / 448.0f, 1e-10f));
    each([&](float v) { return e4m3_code(v / power(group.code)); });
  } else if (scheme == "fp8_deepep") {
    float const amax = std::max(largest, 1e-4f);
    group.scale = amax * (1.0f / 448.0f);
    float const factor = 448.0f / amax;
    each([&](float v) { return e4m3_code(v * factor); });
  } else if (scheme == "int8_token") {
    float const amax = std::max(largest, 1e-10f);
    group.scale = amax / 127.0f;
    float const factor = 127.0f / amax;
    each([&](float v) {
      float const scaled = v * factor;
      return std::isnan(scaled) ? 0u : byte_of(std::round(std::min(127.0f, std::max(-127.0f, scaled))));
    });
  } else if (scheme == "int8_group") {
    group.scale = std::max(largest, 1e-10f) / 127.0f;
    each([&](float v) {
      float const scaled = v / group.scale;
      return std::isnan(scaled) ? 0u : byte_of(std::trunc(std::min(127.0f, std::max(-128.0f, scaled))));
    });
  } else if (scheme == "mxfp8") {
    group.code = power_at_least(largest / 448.0f);
    each([&](float v) { return e4m3_code(v / power(group.code)); });
  } else {
    group.code = e4m3_code(parameter * (largest * (1.0f / 6.0f)));
    float const scale = static_cast<float>(e4m3_values()[group.code]);
    float const factor = group.code == 0 ? 0.0f : 1.0f / (scale * (1.0f / parameter));
    each([&](float v) { return e2m1_code(v * factor); });
  }
  return group;
}

}  // namespace oracle
