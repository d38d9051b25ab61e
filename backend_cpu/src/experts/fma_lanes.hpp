// SPDX-License-Identifier: Apache-2.0
/// FmaLanes: a vector of floats with a correctly rounded fused multiply-add, for the instruction set that the including
/// file is compiled for, and the tile of accumulators that its registers hold.
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
};
#endif

}  // namespace
}  // namespace switchyard::cpu::SWITCHYARD_TARGET
