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

/// Calls function(size) with the sizes of common groups as constants, so that their loops need no remainder.
template <typename Function>
void with_size(std::int64_t size, Function const& function) {
  if (size == 16) return function(std::integral_constant<std::int64_t, 16>{});
  if (size == 32) return function(std::integral_constant<std::int64_t, 32>{});
  if (size == 128) return function(std::integral_constant<std::int64_t, 128>{});
  function(size);
}

std::uint32_t bits_of(float value) {
  return hd::bits_to<std::uint32_t>(value);
}
template <typename T>
std::uint32_t bits_of(T value) {
  return value.bits;
}

/// The order of magnitudes is the order of their bits, so an integer maximum needs no order of operands; 16-bit types
/// are compared as they are. @return the float bits of the largest number
template <typename T, typename Size>
std::uint32_t absmax_bits(T const* __restrict values, Size count) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint16_t>;
  constexpr std::int32_t kInfinity = sizeof(T) == 4 ? 0x7f800000 : std::is_same_v<T, bf16_t> ? 0x7f80 : 0x7c00;
  constexpr std::uint32_t kMagnitude = sizeof(T) == 4 ? 0x7fffffffu : 0x7fffu;
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    auto const magnitude = static_cast<std::int32_t>(bits_of(values[i]) & kMagnitude);
    std::int32_t const number = magnitude & -static_cast<std::int32_t>(magnitude <= kInfinity);
    largest = std::max(largest, number);
  }
  return hd::bits_to<std::uint32_t>(hd::widen(hd::bits_to<T>(static_cast<Bits>(largest))));
}

constexpr std::int64_t kTile = 2048;  // values coded at a time; even, so that half-byte codes never straddle tiles

template <typename T>
float absmax_of(T const* values, std::int64_t count) {
  return hd::bits_to<float>(absmax_bits(values, count));
}

float absmax(void const* values, DType dtype, std::int64_t count) {
  float result = 0.0f;
  with_dtype(dtype, [&](auto type) { result = absmax_of(static_cast<decltype(type) const*>(values), count); });
  return result;
}

constexpr bool has_byte_scale(QuantScheme scheme) {
  return scheme == QuantScheme::fp8_group_ue8m0 || scheme == QuantScheme::mxfp8 || scheme == QuantScheme::nvfp4;
}

/// What a loop over codes reads: floats, or bf16 as they lie. Every NaN has the same code, so none is made canonical.
float read_value(float value) {
  return value;
}
float read_value(bf16_t value) {
  return hd::bits_to<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

/// Codes of groups of `size` values that share a factor, one byte each. Bytes may alias anything, hence restrict. One
/// loop over all groups: the constants of the arithmetic are loaded once.
template <QuantScheme kScheme, typename T, typename Size>
void encode_groups(T const* __restrict values, float const* __restrict factors, std::int64_t groups, Size size,
                   std::uint8_t* __restrict codes) {
  for (std::int64_t g = 0; g < groups; ++g) {
    float const factor = factors[g];
    for (std::int64_t i = 0; i < size; ++i)
      codes[g * size + i] = static_cast<std::uint8_t>(hd::encode<kScheme>(read_value(values[g * size + i]), factor));
  }
}

/// The largest magnitudes of groups of `size` values.
template <typename T, typename Size>
void absmax_groups(T const* __restrict values, std::int64_t groups, Size size, std::uint32_t* __restrict largest) {
  for (std::int64_t g = 0; g < groups; ++g) largest[g] = absmax_bits(values + g * size, size);
}

/// Two codes per byte; `codes` has room for one more.
void join_halves(std::uint8_t* __restrict codes, std::int64_t count, std::byte* __restrict to) {
  codes[count] = 0;
  for (std::int64_t i = 0; i < (count + 1) / 2; ++i)
    to[i] = static_cast<std::byte>(codes[2 * i] | (codes[2 * i + 1] << 4));
}

/// Some whole groups of a row; the last one may be cut off.
struct Tile {
  float values[kTile];
  std::uint32_t largest[kTile];
  float factors[kTile];
  std::uint8_t codes[kTile + 1];
};

/// Where codes are made from: the values themselves, or for f16 (whose widening is long) a copy as floats.
template <typename T>
T const* readable(T const* values, std::int64_t, Tile&) {
  return values;
}
float const* readable(f16_t const* values, std::int64_t count, Tile& tile) {
  for (std::int64_t i = 0; i < count; ++i) tile.values[i] = hd::widen(values[i]);
  return tile.values;
}

/// Scales and factors of `groups` groups from their largest magnitudes.
template <QuantScheme kScheme>
void scale_groups(hd::QuantParameters const& parameters, Tile& tile, std::int64_t groups, std::byte* scales) {
  float stored[kTile];
  std::uint8_t bytes[kTile];
  for (std::int64_t g = 0; g < groups; ++g) {
    hd::GroupScale const scale = hd::group_scale<kScheme>(hd::bits_to<float>(tile.largest[g]), parameters);
    stored[g] = scale.stored;
    bytes[g] = scale.code;
    tile.factors[g] = scale.factor;
  }
  if (scales == nullptr) return;
  for (std::int64_t g = 0; g < groups; ++g) {
    if constexpr (has_byte_scale(kScheme)) {
      scales[g] = static_cast<std::byte>(bytes[g]);
    } else {
      std::memcpy(scales + 4 * g, stored + g, sizeof(float));
    }
  }
}

template <QuantScheme kScheme, typename T>
void encode_tile(Tile& tile, T const* values, std::int64_t group, std::int64_t count, std::byte* codes) {
  constexpr bool kHalves = kScheme == QuantScheme::nvfp4;
  auto* const to = kHalves ? tile.codes : reinterpret_cast<std::uint8_t*>(codes);
  std::int64_t const whole = count / group;
  std::int64_t const done = whole * group;
  with_size(group, [&](auto size) { encode_groups<kScheme>(values, tile.factors, whole, size, to); });
  if (done < count) encode_groups<kScheme>(values + done, tile.factors + whole, 1, count - done, to + done);
  if constexpr (kHalves) join_halves(tile.codes, count, codes);
}

/// Groups that fit a tile: several at a time, so that their scales are computed side by side.
template <QuantScheme kScheme, typename T>
void quantize_small_groups(QuantizeTask const& task, hd::QuantParameters const& parameters, T const* values,
                           std::int64_t count, std::byte* codes, std::byte* scales) {
  constexpr std::int64_t kScaleBytes = has_byte_scale(kScheme) ? 1 : 4;
  Tile tile;
  std::int64_t const span = kTile / task.group * task.group;
  for (std::int64_t first = 0; first < count; first += span) {
    std::int64_t const n = std::min(span, count - first);
    std::int64_t const whole = n / task.group;
    std::int64_t const groups = (n + task.group - 1) / task.group;
    T const* const from = values + first;
    with_size(task.group, [&](auto size) { absmax_groups(from, whole, size, tile.largest); });
    if (whole < groups) tile.largest[whole] = absmax_bits(from + whole * task.group, n - whole * task.group);
    scale_groups<kScheme>(parameters, tile, groups, scales + first / task.group * kScaleBytes);
    encode_tile<kScheme>(tile, readable(from, n, tile), task.group, n,
                         codes + (kScheme == QuantScheme::nvfp4 ? first / 2 : first));
  }
}

/// One scale for the whole row, or one that all rows share.
template <QuantScheme kScheme, typename T>
void quantize_whole_row(QuantizeTask const& task, hd::QuantParameters const& parameters, T const* values,
                        std::int64_t count, std::byte* codes, std::byte* scales) {
  Tile tile;
  float const largest = task.tensor_absmax != nullptr ? *task.tensor_absmax : absmax_of(values, count);
  tile.largest[0] = hd::bits_to<std::uint32_t>(largest);
  scale_groups<kScheme>(parameters, tile, 1, scales);
  for (std::int64_t first = 0; first < count; first += kTile) {
    std::int64_t const n = std::min(kTile, count - first);
    encode_tile<kScheme>(tile, readable(values + first, n, tile), kTile, n, codes + first);
  }
}

template <QuantScheme kScheme, typename T>
void quantize_row(QuantizeTask const& task, T const* values, std::int64_t count, std::byte* codes, std::byte* scales) {
  hd::QuantParameters const parameters{task.given_scale, task.upper_bound, task.tensor_scale};
  if (task.tensor_absmax == nullptr && task.group <= kTile && task.group < count)
    return quantize_small_groups<kScheme>(task, parameters, values, count, codes, scales);
  if (task.group >= count || task.tensor_absmax != nullptr)
    return quantize_whole_row<kScheme>(task, parameters, values, count, codes, scales);
  for (std::int64_t first = 0; first < count; first += task.group)  // groups longer than a tile: bytes only
    quantize_whole_row<kScheme>(task, parameters, values + first, std::min(task.group, count - first), codes + first,
                                scales + first / task.group * 4);
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
