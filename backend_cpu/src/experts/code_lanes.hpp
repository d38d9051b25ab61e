// SPDX-License-Identifier: Apache-2.0
/// CodeLanes: the vectors that the codes of plain values are computed in, as wide as the instruction set that the
/// including file is compiled for. All that they can say is said with the compilers' vector types.
#pragma once

#if !defined(SWITCHYARD_TARGET)
#error "code_lanes.hpp is only for the plain_codes_<target>.cpp files"
#endif

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

namespace switchyard::cpu::SWITCHYARD_TARGET {
namespace {

#if defined(__AVX512F__)
constexpr int kLaneBytes = 64;
#elif defined(__AVX2__)
constexpr int kLaneBytes = 32;
#else
constexpr int kLaneBytes = 16;
#endif
constexpr int kLanes = kLaneBytes / 4;

typedef std::uint32_t LaneBits __attribute__((vector_size(kLaneBytes)));
typedef std::int16_t LaneShorts __attribute__((vector_size(kLaneBytes)));
typedef std::int32_t LaneInts __attribute__((vector_size(kLaneBytes)));
typedef float LaneFloats __attribute__((vector_size(kLaneBytes)));
typedef std::uint16_t LaneHalves __attribute__((vector_size(kLaneBytes / 2)));
typedef std::uint8_t LaneBytes __attribute__((vector_size(kLaneBytes / 4)));

[[gnu::always_inline]] inline LaneFloats as_floats(LaneBits bits) {
  return reinterpret_cast<LaneFloats>(bits);
}
LaneBits as_bits(LaneFloats floats) {
  return reinterpret_cast<LaneBits>(floats);
}
LaneFloats repeat(float value) {
  return value - LaneFloats{};  // a vector and a scalar give a vector; subtracting +0 keeps -0
}

template <typename Lanes>
Lanes load_lanes(void const* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}
template <typename Lanes>
void store_lanes(Lanes const& lanes, void* to) {
  std::memcpy(to, &lanes, sizeof lanes);
}

/// Lanes 0, 2, 4, ... of a and then of b; lanes 1, 3, 5, ...
#if defined(__AVX512F__)
LaneBits even_lanes(LaneBits a, LaneBits b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
LaneBits odd_lanes(LaneBits a, LaneBits b) {
  return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
#elif defined(__AVX2__)
LaneBits even_lanes(LaneBits a, LaneBits b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
}
LaneBits odd_lanes(LaneBits a, LaneBits b) {
  return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}
#else
LaneBits even_lanes(LaneBits a, LaneBits b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6);
}
LaneBits odd_lanes(LaneBits a, LaneBits b) {
  return __builtin_shufflevector(a, b, 1, 3, 5, 7);
}
#endif

/// The larger of two patterns without a sign bit: as signed numbers, because not every processor compares others.
template <typename Lanes>
Lanes larger(Lanes a, Lanes b) {
  return a > b ? a : b;
}
/// Of two floats without a sign; the number where one is a NaN.
LaneFloats smaller(LaneFloats a, LaneFloats b) {
  auto const a_bits = reinterpret_cast<LaneInts>(a);
  auto const b_bits = reinterpret_cast<LaneInts>(b);
  return reinterpret_cast<LaneFloats>(a_bits < b_bits ? a_bits : b_bits);
}

/// fused: value * factor + addend, rounded once; only where kFusedLanes.
/// weigh: lower half of a lane * lower + upper half * upper; both below 2^15. `weights` holds them as halves, too.
/// narrow_with_signs: the lower half of every lane, two bytes, with the signs that lie in bits 15 and 31 of `signs`.
#if defined(__AVX512BW__)
constexpr bool kFusedLanes = true;
LaneFloats fused(LaneFloats value, LaneFloats factor, LaneFloats addend) {
  return _mm512_fmadd_ps(value, factor, addend);
}
LaneBits weigh(LaneBits lanes, std::uint32_t weights) {
  LaneBits const repeated = LaneBits{} + weights;
  return reinterpret_cast<LaneBits>(
      _mm512_madd_epi16(reinterpret_cast<__m512i>(lanes), reinterpret_cast<__m512i>(repeated)));
}
LaneHalves narrow_with_signs(LaneBits codes, LaneBits signs) {
  __mmask32 const negative = _mm512_movepi16_mask(reinterpret_cast<__m512i>(signs));
  __m256i const narrow = _mm512_maskz_cvtepi32_epi16(0xffff, reinterpret_cast<__m512i>(codes));
  return reinterpret_cast<LaneHalves>(_mm256_mask_add_epi8(narrow, negative, narrow, _mm256_set1_epi8(-128)));
}
#else
LaneHalves narrow_with_signs(LaneBits codes, LaneBits signs) {
  return __builtin_convertvector(codes | ((signs >> 8) & 0x80u) | ((signs >> 16) & 0x8000u), LaneHalves);
}
#if defined(__FMA__)
constexpr bool kFusedLanes = true;
LaneFloats fused(LaneFloats value, LaneFloats factor, LaneFloats addend) {
  return _mm256_fmadd_ps(value, factor, addend);
}
LaneBits weigh(LaneBits lanes, std::uint32_t weights) {
  LaneBits const repeated = LaneBits{} + weights;
  return reinterpret_cast<LaneBits>(
      _mm256_madd_epi16(reinterpret_cast<__m256i>(lanes), reinterpret_cast<__m256i>(repeated)));
}
#else
constexpr bool kFusedLanes = false;
LaneFloats fused(LaneFloats value, LaneFloats factor, LaneFloats addend) {
  return value * factor + addend;
}
LaneBits weigh(LaneBits lanes, std::uint32_t weights) {
  return (lanes & 0xffffu) * (weights & 0xffffu) + (lanes >> 16) * (weights >> 16);
}
#endif
#endif

}  // namespace
}  // namespace switchyard::cpu::SWITCHYARD_TARGET
