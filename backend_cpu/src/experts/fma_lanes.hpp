// SPDX-License-Identifier: Apache-2.0
/// FmaLanes: a vector of floats with a correctly rounded fused multiply-add, for the instruction set that the including
/// file is compiled for, the tile of accumulators that its registers hold, and how squares of lanes are turned.
#if !defined(SWITCHYARD_TARGET)
#error "fma_lanes.hpp is only for the expert_kernels_<target>.cpp files"
#endif

#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

namespace switchyard::cpu::SWITCHYARD_TARGET {
namespace {

#if defined(__AVX512F__)
struct FmaLanes {
  using Vector = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kRows = 14;  // 28 accumulators, 2 columns, 2 registers to spare
  static constexpr int kVectors = 2;
  static Vector load(float const* from) { return _mm512_loadu_ps(from); }
  static Vector repeat(float value) { return _mm512_set1_ps(value); }
  static void store(float* to, Vector v) { _mm512_storeu_ps(to, v); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector low_pairs(Vector a, Vector b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  static Vector high_pairs(Vector a, Vector b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
};
#elif defined(__FMA__)
struct FmaLanes {
  using Vector = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kRows = 6;  // 12 accumulators, 2 columns, 2 registers to spare
  static constexpr int kVectors = 2;
  static Vector load(float const* from) { return _mm256_loadu_ps(from); }
  static Vector repeat(float value) { return _mm256_set1_ps(value); }
  static void store(float* to, Vector v) { _mm256_storeu_ps(to, v); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector low_pairs(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
  static Vector high_pairs(Vector a, Vector b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
};
#else
/// Without the instruction: in fp64 the product of two floats is exact and the sum has one rounding. Making that one a
/// rounding to odd (the error term of the sum says in which direction the exact value lies) lets the second rounding,
/// to fp32, see what the first one lost, so that both together round once. 53 bits are 2 more than that needs.
struct FmaLanes {
  typedef float Vector __attribute__((vector_size(8)));
  typedef double Wide __attribute__((vector_size(16)));
  typedef long long Bits __attribute__((vector_size(16)));
  static constexpr int kWidth = 2;
  static constexpr int kRows = 4;
  static constexpr int kVectors = 4;
  static Vector load(float const* from) { return Vector{from[0], from[1]}; }
  static Vector repeat(float value) { return Vector{value, value}; }
  static void store(float* to, Vector v) {
    to[0] = v[0];
    to[1] = v[1];
  }
  static Wide widen(Vector v) { return __builtin_convertvector(v, Wide); }
  static Vector fma(Vector a, Vector b, Vector c) {
    Wide const product = widen(a) * widen(b);
    Wide const addend = widen(c);
    Wide const sum = product + addend;
    Wide const rest = sum - product;
    Wide const error = (product - (sum - rest)) + (addend - rest);  // exact; NaN where the sum is infinite or NaN
    Wide const nothing{};
    Bits const bits = reinterpret_cast<Bits>(sum);
    Bits const above = error > nothing;  // all ones where the exact value is greater than the sum
    Bits const inexact = above | (error < nothing);
    Bits const even = (bits & 1) - 1;
    Bits const away = above ^ (sum < nothing);  // all ones where the exact value lies further from zero
    Bits const step = ~away | 1;                // one unit of the magnitude: +1 or -1
    Wide const odd = reinterpret_cast<Wide>(bits + (step & inexact & even));
    return __builtin_convertvector(odd, Vector);
  }
  static Vector low_pairs(Vector a, Vector b) { return Vector{a[0], b[0]}; }
  static Vector high_pairs(Vector a, Vector b) { return Vector{a[1], b[1]}; }
};
#endif

/// Turns a square of kWidth vectors: lane j of vector i becomes lane i of vector j. Interleaving the first half of the
/// vectors with the second half rotates the bits of an element's address by one; kWidth = 2^n of n such steps turn it.
inline void turn_square(FmaLanes::Vector* square) {
  constexpr int kHalf = FmaLanes::kWidth / 2;
  FmaLanes::Vector other[FmaLanes::kWidth];
#pragma GCC unroll 4
  for (int step = 1; step < FmaLanes::kWidth; step *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < kHalf; ++i) {
      other[2 * i] = FmaLanes::low_pairs(square[i], square[i + kHalf]);
      other[2 * i + 1] = FmaLanes::high_pairs(square[i], square[i + kHalf]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < FmaLanes::kWidth; ++i) square[i] = other[i];
  }
}

}  // namespace
}  // namespace switchyard::cpu::SWITCHYARD_TARGET
