// SPDX-License-Identifier: Apache-2.0
/// The loops of PlainCodes, written once; included by plain_codes_<target>.cpp as expert_kernels_body.hpp is.
#if !defined(SWITCHYARD_TARGET) || !defined(SWITCHYARD_TARGET_HD)
#error "plain_codes_body.hpp is only for the plain_codes_<target>.cpp files"
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "code_lanes.hpp"
#include "largest_bits.hpp"
#include "plain_codes.hpp"
#include "switchyard/types/host_device.hpp"

#define hd SWITCHYARD_TARGET_HD
#include "switchyard/hd/quantize.hpp"

namespace switchyard::cpu::SWITCHYARD_TARGET {
namespace {

/// What values are scaled with.
struct Scaling {
  LaneFloats factor;
  LaneFloats inverse;
};

/// a / b, correctly rounded, for quotients above 2^-60; smaller ones may lose last bits and the sign of zero, which no
/// code shows. inverse = 1 / b rounded to nearest, 2^-41 < b < 2^122. Two steps of Newton's iteration with exact
/// remainders: the first makes a quotient that is off by less than a unit in the last place, and from such a one the
/// second makes the nearest (Markstein's theorem).
[[gnu::always_inline]] inline LaneFloats divide(LaneFloats a, Scaling const& by) {
  if constexpr (!kFusedLanes) return a / by.factor;
  LaneFloats const rough = a * by.inverse;
  LaneFloats const faithful = fused(fused(-rough, by.factor, a), by.inverse, rough);
  return fused(fused(-faithful, by.factor, a), by.inverse, faithful);
}

template <QuantScheme kScheme>
LaneFloats scaled(LaneBits bits, Scaling const& by) {
  return hd::divides(kScheme) ? divide(as_floats(bits), by) : as_floats(bits) * by.factor;
}

/// A float format with `kMantissaBits` and `kBias`; how codes of it are counted.
template <int kMantissaBits, int kBias, int kCodeBits>
struct Minifloat {
  static constexpr int kBits = kCodeBits;
  static constexpr int kShift = 23 - kMantissaBits;
  static constexpr auto kLeastNormal = static_cast<std::int32_t>(128 - kBias) << 23;

  /// Magnitudes, rounded to the format (nearest, ties to even), as floats whose lowest bits count its units. A float
  /// that 2^kShift times its own binade is added to is rounded to the format's unit there; below the least normal
  /// number the unit stays as it is. The product is exact: fusing it with the sum changes nothing.
  static LaneBits rounded(LaneFloats size) {
    LaneInts const binade = larger(reinterpret_cast<LaneInts>(size), LaneInts{} + kLeastNormal) & 0x7f800000;
    return as_bits(fused(reinterpret_cast<LaneFloats>(binade), repeat(static_cast<float>(1 << kShift)), size));
  }

  /// The codes of two rounded magnitudes next to each other. A code is the number of units plus the exponent times
  /// 2^kMantissaBits less kOffset; units are the lower half of a lane, and the upper half is the exponent times 2^7.
  static LaneBits joined(LaneBits first, LaneBits second) {
    constexpr int kScale = 7 - kMantissaBits;
    constexpr std::uint32_t kOffset =
        (static_cast<std::uint32_t>(kShift + 127 - kBias) << kMantissaBits) + (1u << kMantissaBits);
    constexpr std::uint32_t kWeights = (1u << 16) | (1u << kScale);
    LaneBits const scaled_codes = weigh(first, kWeights) + weigh(second, kWeights << kCodeBits);
    return (scaled_codes >> kScale) - kOffset * (1u + (1u << kCodeBits));
  }
};
using E4m3 = Minifloat<3, 7, 8>;
using E2m1 = Minifloat<1, 1, 4>;

/// Schemes whose scaled values can pass the largest code; those of the others come from the group's own maximum.
constexpr bool saturates(QuantScheme scheme) {
  return scheme == QuantScheme::fp8_tensor || scheme == QuantScheme::fp8_token;
}

/// Signed integers: cut towards zero, or to the nearest one with halves away from zero.
template <QuantScheme kScheme>
LaneBits integer_codes(LaneBits bits, Scaling const& by) {
  LaneFloats value = scaled<kScheme>(bits, by);
  // The float below 1/2 is added, because adding 1/2 would lift that very float to 1.
  if constexpr (kScheme == QuantScheme::int8_token) value = value + as_floats((bits & kSign) | 0x3effffffu);
  return reinterpret_cast<LaneBits>(__builtin_convertvector(value, LaneInts));
}

template <QuantScheme kScheme>
LaneFloats scaled_magnitudes(LaneBits bits, Scaling const& by) {
  LaneFloats const size = scaled<kScheme>(bits & kMagnitude, by);
  if constexpr (kScheme == QuantScheme::nvfp4) return smaller(size, repeat(6.0f));
  return saturates(kScheme) ? smaller(size, repeat(hd::kE4m3Largest)) : size;
}

template <QuantScheme kScheme>
constexpr std::int64_t kBytesPerPair = kScheme == QuantScheme::nvfp4 ? 1 : 2;

constexpr bool is_integer(QuantScheme scheme) {
  return scheme == QuantScheme::int8_token || scheme == QuantScheme::int8_group;
}

template <QuantScheme kScheme, typename T>
[[gnu::always_inline]] inline void encode_block(T const* values, Scaling const& by, std::byte* codes) {
  Pairs const pairs = load_pairs(values);
  if constexpr (is_integer(kScheme)) {
    LaneBits const low = integer_codes<kScheme>(pairs.first, by) & 0xffu;
    LaneBits const high = integer_codes<kScheme>(pairs.second, by) << 8;
    store_lanes(__builtin_convertvector(low | high, LaneHalves), codes);
    return;
  }
  using Format = std::conditional_t<kScheme == QuantScheme::nvfp4, E2m1, E4m3>;
  LaneBits const joined = Format::joined(Format::rounded(scaled_magnitudes<kScheme>(pairs.first, by)),
                                         Format::rounded(scaled_magnitudes<kScheme>(pairs.second, by)));
  if constexpr (Format::kBits == 4) {
    LaneBits const signs = ((pairs.signs >> 12) & 8u) | ((pairs.signs >> 24) & 0x80u);
    store_lanes(__builtin_convertvector(joined | signs, LaneBytes), codes);
  } else {
    store_lanes(narrow_with_signs(joined, pairs.signs), codes);
  }
}

/// `count` values, fewer than a block.
template <QuantScheme kScheme, typename T>
void encode_rest(T const* values, std::int64_t count, Scaling const& by, std::byte* codes) {
  T block[kBlock] = {};
  std::byte block_codes[kBlock] = {};
  std::copy_n(values, count, block);
  encode_block<kScheme>(block, by, block_codes);
  std::copy_n(block_codes, (count * kBytesPerPair<kScheme> + 1) / 2, codes);
}

/// Asks for the block that lies `bytes` further: computing codes leaves the memory idle, reading for the next maxima
/// would leave the multipliers idle.
template <typename T>
void fetch_ahead(T const* values, std::int64_t bytes) {
  auto const* const from = reinterpret_cast<char const*>(values);
  for (std::int64_t line = 0; line < kBlock * static_cast<std::int64_t>(sizeof(T)); line += 64)
    __builtin_prefetch(reinterpret_cast<void const*>(reinterpret_cast<std::uintptr_t>(from + line) +
                                                     static_cast<std::uintptr_t>(bytes)));
}

template <QuantScheme kScheme, typename T, typename Size>
void encode_groups(PlainCodes const& task, Size size) {
  auto const* values = static_cast<T const*>(task.values);
  std::byte* codes = task.codes;
  for (std::int64_t g = 0; g < task.groups; ++g) {
    Scaling const by{repeat(task.factors[g]), repeat(task.inverses[g])};
    std::int64_t i = 0;
    for (; i + kBlock <= size; i += kBlock) {
      fetch_ahead(values + i, task.bytes_ahead);
      encode_block<kScheme>(values + i, by, codes + i / 2 * kBytesPerPair<kScheme>);
    }
    if (i < size) encode_rest<kScheme>(values + i, size - i, by, codes + i / 2 * kBytesPerPair<kScheme>);
    values += size;
    codes += size / 2 * kBytesPerPair<kScheme>;
  }
}

/// The factors are laid out, one per pair, and one loop runs over all values.
template <QuantScheme kScheme, typename T>
void encode_short_groups(PlainCodes const& task) {
  constexpr std::int64_t kPairs = kShortGroup / 2;
  constexpr std::int64_t kGroups = 64;
  float factors[kGroups * kPairs];
  auto const* const values = static_cast<T const*>(task.values);
  for (std::int64_t first = 0; first < task.groups; first += kGroups) {
    std::int64_t const groups = std::min(kGroups, task.groups - first);
    for (std::int64_t g = 0; g < groups; ++g)
      for (std::int64_t i = 0; i < kPairs; ++i) factors[g * kPairs + i] = task.factors[first + g];
    std::int64_t const end = (first + groups) * kShortGroup;
    std::int64_t i = first * kShortGroup;
    for (; i + kBlock <= end; i += kBlock) {
      fetch_ahead(values + i, task.bytes_ahead);
      auto const factor = load_lanes<LaneFloats>(factors + (i - first * kShortGroup) / 2);
      encode_block<kScheme>(values + i, {factor, factor}, task.codes + i / 2 * kBytesPerPair<kScheme>);
    }
    if (i < end) {
      LaneFloats const factor = repeat(task.factors[first + groups - 1]);
      encode_rest<kScheme>(values + i, end - i, {factor, factor}, task.codes + i / 2 * kBytesPerPair<kScheme>);
    }
  }
}

template <QuantScheme kScheme, typename T>
void encode_typed(PlainCodes const& task) {
  if constexpr (kScheme == QuantScheme::nvfp4) {
    if (task.size == kShortGroup) return encode_short_groups<kScheme, T>(task);
  }
  if (task.size == 32) return encode_groups<kScheme, T>(task, std::integral_constant<std::int64_t, 32>{});
  if (task.size == 128) return encode_groups<kScheme, T>(task, std::integral_constant<std::int64_t, 128>{});
  encode_groups<kScheme, T>(task, task.size);
}

template <QuantScheme kScheme>
void encode_scheme(PlainCodes const& task) {
  if (task.dtype == DType::f32) return encode_typed<kScheme, float>(task);
  encode_typed<kScheme, bf16_t>(task);
}

}  // namespace

void encode_plain(PlainCodes const& task) {
  switch (task.scheme) {
    case QuantScheme::fp8_tensor:
    case QuantScheme::fp8_tensor_dynamic: return encode_scheme<QuantScheme::fp8_tensor>(task);
    case QuantScheme::fp8_token: return encode_scheme<QuantScheme::fp8_token>(task);
    case QuantScheme::fp8_group: return encode_scheme<QuantScheme::fp8_group>(task);
    case QuantScheme::fp8_group_ue8m0:
    case QuantScheme::fp8_deepep:
    case QuantScheme::mxfp8: return encode_scheme<QuantScheme::mxfp8>(task);
    case QuantScheme::int8_token: return encode_scheme<QuantScheme::int8_token>(task);
    case QuantScheme::int8_group: return encode_scheme<QuantScheme::int8_group>(task);
    case QuantScheme::nvfp4: return encode_scheme<QuantScheme::nvfp4>(task);
  }
}

void find_largest(LargestBits const& task) {
  if (task.dtype == DType::f32) return largest_typed<float>(task);
  largest_typed<bf16_t>(task);
}

}  // namespace switchyard::cpu::SWITCHYARD_TARGET
