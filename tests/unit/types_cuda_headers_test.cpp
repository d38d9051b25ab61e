// SPDX-License-Identifier: Apache-2.0
// Conversions against the CUDA toolkit's own headers, which compile under a plain host compiler. Built only when the
// toolkit's headers are found; without them tests/unit/types_convert_test.cpp still checks against the definition.
//
// The one declared difference: a NaN has one bit pattern per type here. CUDA's bf16 widening keeps the NaN's payload
// and its e4m3 overflow keeps the sign; so where CUDA's result is a NaN, ours must be the canonical NaN.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "oracle/minifloat_oracle.hpp"
#include "support/float_sweep.hpp"
#include "switchyard/hd/convert.hpp"

namespace hd = switchyard::hd;
using switchyard::Saturation;
using switchyard::ScaleRounding;

namespace {

void check_sweep(std::string const& name, support::SweepResult const& result) {
  MESSAGE(name << ": " << result.tried << " floats compared");
  CHECK_MESSAGE(result.mismatches == 0, name << ": first mismatch at float bits " << result.first_mismatch);
}

std::vector<std::uint32_t> boundaries(oracle::Minifloat const& format) {
  return oracle::rounding_steps(format).first_float;
}

std::uint16_t bits_of(__nv_bfloat16 value) {
  return static_cast<__nv_bfloat16_raw>(value).x;
}
std::uint16_t bits_of(__half value) {
  return static_cast<__half_raw>(value).x;
}

/// Equal bits, or both NaN and ours the canonical one.
bool same_fp8(std::uint8_t ours, std::uint8_t theirs, std::uint8_t largest_non_nan) {
  return (theirs & 0x7f) > largest_non_nan ? ours == 0x7f : ours == theirs;
}
bool same_float(float ours, float theirs) {
  std::uint32_t const bits = hd::bits_to<std::uint32_t>(ours);
  return std::isnan(theirs) ? bits == hd::kCanonicalNan32 : bits == hd::bits_to<std::uint32_t>(theirs);
}

float cuda_widen(std::uint8_t bits, __nv_fp8_interpretation_t kind) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(bits, kind)));
}

void check_fp8(std::string const& name, __nv_fp8_interpretation_t kind, Saturation saturation) {
  bool const is_e4m3 = kind == __NV_E4M3;
  auto const theirs = saturation == Saturation::saturate ? __NV_SATFINITE : __NV_NOSAT;
  check_sweep(name, support::sweep_floats(boundaries(is_e4m3 ? oracle::kE4m3 : oracle::kE5m2), [&](std::uint32_t bits) {
                float const x = hd::bits_to<float>(bits);
                std::uint8_t const ours =
                    is_e4m3 ? hd::round_to_e4m3(x, saturation).bits : hd::round_to_e5m2(x, saturation).bits;
                return same_fp8(ours, __nv_cvt_float_to_fp8(x, theirs, kind), is_e4m3 ? 0x7e : 0x7c);
              }));
}

}  // namespace

TEST_CASE("float to bf16 and f16 equals CUDA's") {
  check_sweep("bf16", support::sweep_floats(boundaries(oracle::kBf16), [](std::uint32_t bits) {
                float const x = hd::bits_to<float>(bits);
                return hd::round_to_bf16(x).bits == bits_of(__float2bfloat16_rn(x));
              }));
  check_sweep("f16", support::sweep_floats(boundaries(oracle::kF16), [](std::uint32_t bits) {
                float const x = hd::bits_to<float>(bits);
                return hd::round_to_f16(x).bits == bits_of(__float2half_rn(x));
              }));
}

TEST_CASE("float to fp8 equals CUDA's") {
  check_fp8("e4m3 saturating", __NV_E4M3, Saturation::saturate);
  check_fp8("e4m3", __NV_E4M3, Saturation::none);
  check_fp8("e5m2 saturating", __NV_E5M2, Saturation::saturate);
  check_fp8("e5m2", __NV_E5M2, Saturation::none);
}

TEST_CASE("float to e8m0 equals CUDA's") {
  std::vector<std::uint32_t> powers_of_two = {0x00400000u};
  for (std::uint32_t exponent = 0; exponent <= 0xff; ++exponent) powers_of_two.push_back(exponent << 23);
  for (ScaleRounding const rounding : {ScaleRounding::toward_zero, ScaleRounding::up})
    for (Saturation const saturation : {Saturation::none, Saturation::saturate}) {
      auto const their_rounding = rounding == ScaleRounding::up ? cudaRoundPosInf : cudaRoundZero;
      auto const their_saturation = saturation == Saturation::saturate ? __NV_SATFINITE : __NV_NOSAT;
      check_sweep("e8m0", support::sweep_floats(powers_of_two, [&](std::uint32_t bits) {
                    float const x = hd::bits_to<float>(bits);
                    return hd::round_to_e8m0(x, rounding, saturation).bits ==
                           __nv_cvt_float_to_e8m0(x, their_saturation, their_rounding);
                  }));
    }
}

TEST_CASE("every code decodes as in CUDA") {
  for (std::uint32_t code = 0; code < 0x10000; ++code) {
    auto const bits = static_cast<std::uint16_t>(code);
    __nv_bfloat16_raw bf16;
    bf16.x = bits;
    __half_raw f16;
    f16.x = bits;
    CAPTURE(code);
    REQUIRE(same_float(hd::widen(switchyard::bf16_t{bits}), __bfloat162float(__nv_bfloat16(bf16))));
    REQUIRE(same_float(hd::widen(switchyard::f16_t{bits}), __half2float(__half(f16))));
  }
  for (std::uint32_t code = 0; code < 0x100; ++code) {
    auto const bits = static_cast<std::uint8_t>(code);
    CAPTURE(code);
    REQUIRE(same_float(hd::widen(switchyard::fp8_e4m3_t{bits}), cuda_widen(bits, __NV_E4M3)));
    REQUIRE(same_float(hd::widen(switchyard::fp8_e5m2_t{bits}), cuda_widen(bits, __NV_E5M2)));
    __nv_bfloat16 const scale(__nv_cvt_e8m0_to_bf16raw(bits));
    REQUIRE(same_float(hd::widen(switchyard::e8m0_t{bits}), __bfloat162float(scale)));
  }
}
