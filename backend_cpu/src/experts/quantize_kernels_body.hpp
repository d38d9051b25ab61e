// SPDX-License-Identifier: Apache-2.0
/// The loops of the quantisers, written once; included by quantize_kernels_<target>.cpp as expert_kernels_body.hpp is.
#if !defined(SWITCHYARD_TARGET) || !defined(SWITCHYARD_TARGET_HD)
#error "quantize_kernels_body.hpp is only for the quantize_kernels_<target>.cpp files"
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "plain_codes.hpp"
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
  float inverses[kTile];
  std::uint8_t codes[kTile + 1];
  bool plain;  ///< whether PlainCodes can take all groups: no NaN, no infinity, no odd factor
};

/// What PlainCodes reads.
template <typename T>
constexpr DType readable_dtype() {
  return std::is_same_v<T, bf16_t> ? DType::bf16 : DType::f32;
}

/// Where codes are made from: the values themselves, or for f16 (whose widening is long) a copy as floats.
template <typename T>
T const* readable(T const* values, std::int64_t, Tile&) {
  return values;
}
float const* readable(f16_t const* values, std::int64_t count, Tile& tile) {
  for (std::int64_t i = 0; i < count; ++i) tile.values[i] = hd::widen(values[i]);
  return tile.values;
}

constexpr std::uint32_t kInfinity = 0x7f800000u;

/// The largest bits of `count` values in groups of `group`, the last one maybe cut off; see LargestBits.
template <typename T>
void find_all_largest(T const* values, std::int64_t group, std::int64_t count, std::uint32_t* largest) {
  std::int64_t const whole = count / group;
  std::int64_t const done = whole * group;
  find_largest({readable_dtype<T>(), values, whole, group, largest});
  if (done < count) find_largest({readable_dtype<T>(), values + done, 1, count - done, largest + whole});
}

/// The groups' largest numbers, and whether all values are finite.
template <typename T>
void find_absmax(Tile& tile, T const* values, std::int64_t group, std::int64_t count) {
  std::int64_t const groups = (count + group - 1) / group;
  find_all_largest(values, group, count, tile.largest);
  std::uint32_t top = 0;
  for (std::int64_t g = 0; g < groups; ++g) top = std::max(top, tile.largest[g]);
  tile.plain = top < kInfinity;
  if (tile.plain) return;
  for (std::int64_t g = 0; g < groups; ++g)
    tile.largest[g] = absmax_bits(values + g * group, std::min(group, count - g * group));
}

/// The bits of the largest number of a row, tile by tile; tile.plain: whether all its values are finite.
template <typename T>
std::uint32_t row_absmax(Tile& tile, T const* values, std::int64_t count) {
  std::uint32_t largest = 0;
  bool plain = true;
  for (std::int64_t first = 0; first < count; first += kTile) {
    std::int64_t const n = std::min(kTile, count - first);
    find_absmax(tile, readable(values + first, n, tile), kTile, n);
    largest = std::max(largest, tile.largest[0]);
    plain = plain && tile.plain;
  }
  tile.plain = plain;
  return largest;
}

float absmax(void const* values, DType dtype, std::int64_t count) {
  Tile tile;
  std::uint32_t result = 0;
  with_dtype(dtype, [&](auto type) { result = row_absmax(tile, static_cast<decltype(type) const*>(values), count); });
  return hd::bits_to<float>(result);
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
    tile.inverses[g] = hd::divides(kScheme) ? hd::div_rn(1.0f, scale.factor) : 0.0f;
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

bool are_plain(float const* factors, std::int64_t groups) {
  std::uint32_t top = 0;
  for (std::int64_t g = 0; g < groups; ++g) top = std::max(top, bits_of(factors[g]));
  return is_plain_factor(top);
}

/// Special values among them, or odd factors.
template <QuantScheme kScheme, typename T>
void encode_special(Tile& tile, T const* values, std::int64_t group, std::int64_t count, std::byte* codes) {
  constexpr bool kHalves = kScheme == QuantScheme::nvfp4;
  auto* const to = kHalves ? tile.codes : reinterpret_cast<std::uint8_t*>(codes);
  std::int64_t const whole = count / group;
  std::int64_t const done = whole * group;
  with_size(group, [&](auto size) { encode_groups<kScheme>(values, tile.factors, whole, size, to); });
  if (done < count) encode_groups<kScheme>(values + done, tile.factors + whole, 1, count - done, to + done);
  if constexpr (kHalves) join_halves(tile.codes, count, codes);
}

/// Codes of `count` values from tile.factors. Groups of an odd size could share a byte, or a pair of values.
template <QuantScheme kScheme, typename T>
void encode_tile(Tile& tile, T const* values, std::int64_t group, std::int64_t count, std::byte* codes,
                 std::int64_t bytes_ahead) {
  constexpr std::int64_t kValuesPerByte = kScheme == QuantScheme::nvfp4 ? 2 : 1;
  std::int64_t const whole = count / group;
  std::int64_t const done = whole * group;
  bool const even = group % 2 == 0 || count <= group;
  if (!tile.plain || !even || !are_plain(tile.factors, (count + group - 1) / group))
    return encode_special<kScheme>(tile, values, group, count, codes);
  encode_plain({kScheme, readable_dtype<T>(), values, whole, group, tile.factors, tile.inverses, codes, bytes_ahead});
  if (done < count)
    encode_plain({kScheme, readable_dtype<T>(), values + done, 1, count - done, tile.factors + whole,
                  tile.inverses + whole, codes + done / kValuesPerByte, bytes_ahead});
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
    auto const* const from = readable(values + first, n, tile);
    find_absmax(tile, from, task.group, n);
    scale_groups<kScheme>(parameters, tile, (n + task.group - 1) / task.group,
                          scales + first / task.group * kScaleBytes);
    encode_tile<kScheme>(tile, from, task.group, n, codes + (kScheme == QuantScheme::nvfp4 ? first / 2 : first),
                         span * static_cast<std::int64_t>(sizeof(T)));
  }
}

/// One scale for the whole row, or one that all rows share, whose maximum says nothing about NaNs of this row.
template <QuantScheme kScheme, typename T>
void quantize_whole_row(QuantizeTask const& task, hd::QuantParameters const& parameters, T const* values,
                        std::int64_t count, std::byte* codes, std::byte* scales) {
  Tile tile;
  std::uint32_t largest = row_absmax(tile, values, count);
  if (task.tensor_absmax != nullptr) largest = bits_of(*task.tensor_absmax);
  tile.largest[0] = largest;
  scale_groups<kScheme>(parameters, tile, 1, scales);
  for (std::int64_t first = 0; first < count; first += kTile) {
    std::int64_t const n = std::min(kTile, count - first);
    encode_tile<kScheme>(tile, readable(values + first, n, tile), kTile, n, codes + first,
                         count * static_cast<std::int64_t>(sizeof(T)));
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
