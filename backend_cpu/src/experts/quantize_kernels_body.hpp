// SPDX-License-Identifier: Apache-2.0
/// The loops of the quantisers, written once; included by quantize_kernels_<target>.cpp as expert_kernels_body.hpp is.
#if !defined(SWITCHYARD_TARGET) || !defined(SWITCHYARD_TARGET_HD)
#error "quantize_kernels_body.hpp is only for the quantize_kernels_<target>.cpp files"
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "quantize_kernels.hpp"
#include "switchyard/types/host_device.hpp"

#define hd SWITCHYARD_TARGET_HD
#include "switchyard/hd/quantize.hpp"

namespace switchyard::cpu::SWITCHYARD_TARGET {
namespace {

template <typename Function>
void with_dtype(DType dtype, Function const& function) {
  if (dtype == DType::f32) return function(float{});
  if (dtype == DType::bf16) return function(bf16_t{});
  function(f16_t{});
}

template <QuantScheme kScheme>
using Scheme = std::integral_constant<QuantScheme, kScheme>;

template <typename Function>
void with_scheme(QuantScheme scheme, Function const& function) {
  switch (scheme) {
    case QuantScheme::fp8_tensor: return function(Scheme<QuantScheme::fp8_tensor>{});
    case QuantScheme::fp8_tensor_dynamic: return function(Scheme<QuantScheme::fp8_tensor_dynamic>{});
    case QuantScheme::fp8_token: return function(Scheme<QuantScheme::fp8_token>{});
    case QuantScheme::fp8_group: return function(Scheme<QuantScheme::fp8_group>{});
    case QuantScheme::fp8_group_ue8m0: return function(Scheme<QuantScheme::fp8_group_ue8m0>{});
    case QuantScheme::fp8_deepep: return function(Scheme<QuantScheme::fp8_deepep>{});
    case QuantScheme::int8_token: return function(Scheme<QuantScheme::int8_token>{});
    case QuantScheme::int8_group: return function(Scheme<QuantScheme::int8_group>{});
    case QuantScheme::mxfp8: return function(Scheme<QuantScheme::mxfp8>{});
    case QuantScheme::nvfp4: return function(Scheme<QuantScheme::nvfp4>{});
  }
}

/// The order of magnitudes is the order of their bits, so an integer maximum needs no order of operands.
std::uint32_t absmax_bits(float const* values, std::int64_t count) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t const magnitude = hd::bits_to<std::uint32_t>(values[i]) & 0x7fffffffu;
    largest = std::max(largest, magnitude > 0x7f800000u ? 0u : magnitude);
  }
  return largest;
}

constexpr std::int64_t kTile = 512;  // values widened at a time; even, so that half-byte codes never straddle tiles

template <typename T>
float absmax_of(T const* values, std::int64_t count) {
  std::uint32_t largest = 0;
  float tile[kTile];
  for (std::int64_t i = 0; i < count; i += kTile) {
    std::int64_t const n = std::min(kTile, count - i);
    for (std::int64_t k = 0; k < n; ++k) tile[k] = hd::widen(values[i + k]);
    largest = std::max(largest, absmax_bits(tile, n));
  }
  return hd::bits_to<float>(largest);
}

float absmax(void const* values, DType dtype, std::int64_t count) {
  float result = 0.0f;
  with_dtype(dtype, [&](auto type) { result = absmax_of(static_cast<decltype(type) const*>(values), count); });
  return result;
}

constexpr bool has_byte_scale(QuantScheme scheme) {
  return scheme == QuantScheme::fp8_group_ue8m0 || scheme == QuantScheme::mxfp8 || scheme == QuantScheme::nvfp4;
}

template <QuantScheme kScheme>
void store_scale(hd::GroupScale const& scale, std::byte* scales, std::int64_t group) {
  if constexpr (has_byte_scale(kScheme)) {
    scales[group] = static_cast<std::byte>(scale.code);
  } else {
    std::uint32_t const bits = hd::bits_to<std::uint32_t>(scale.stored);
    for (int i = 0; i < 4; ++i) scales[4 * group + i] = static_cast<std::byte>(bits >> (8 * i));
  }
}

/// Codes of values [first, first + count) of a row; count is even or the row ends.
template <QuantScheme kScheme>
void encode_run(float const* values, float factor, std::int64_t first, std::int64_t count, std::byte* codes) {
  if constexpr (kScheme == QuantScheme::nvfp4) {
    std::byte* const to = codes + first / 2;
    for (std::int64_t i = 0; i < count; i += 2) {
      std::uint32_t const low = hd::encode<kScheme>(values[i], factor);
      std::uint32_t const high = i + 1 < count ? hd::encode<kScheme>(values[i + 1], factor) : 0u;
      to[i / 2] = static_cast<std::byte>(low | (high << 4));
    }
  } else {
    auto* const to = reinterpret_cast<std::uint8_t*>(codes + first);
    for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<std::uint8_t>(hd::encode<kScheme>(values[i], factor));
  }
}

template <QuantScheme kScheme, typename T>
void quantize_row(QuantizeTask const& task, T const* values, std::int64_t count, std::byte* codes, std::byte* scales) {
  hd::QuantParameters const parameters{task.given_scale, task.upper_bound, task.tensor_scale};
  float tile[kTile];
  for (std::int64_t first = 0, group = 0; first < count; first += task.group, ++group) {
    std::int64_t const size = std::min(task.group, count - first);
    float const largest = task.tensor_absmax != nullptr ? *task.tensor_absmax : absmax_of(values + first, size);
    hd::GroupScale const scale = hd::group_scale<kScheme>(largest, parameters);
    if (scales != nullptr) store_scale<kScheme>(scale, scales, group);
    for (std::int64_t i = first; i < first + size; i += kTile) {
      std::int64_t const n = std::min(kTile, first + size - i);
      for (std::int64_t k = 0; k < n; ++k) tile[k] = hd::widen(values[i + k]);
      encode_run<kScheme>(tile, scale.factor, i, n, codes);
    }
  }
}

void row(QuantizeTask const& task, void const* values, std::int64_t count, std::byte* codes, std::byte* scales) {
  with_scheme(task.scheme, [&](auto scheme) {
    with_dtype(task.dtype, [&](auto type) {
      quantize_row<decltype(scheme)::value>(task, static_cast<decltype(type) const*>(values), count, codes, scales);
    });
  });
}

}  // namespace

extern QuantizeKernels const kQuantizeKernels;
QuantizeKernels const kQuantizeKernels = {absmax, row};

}  // namespace switchyard::cpu::SWITCHYARD_TARGET
