// SPDX-License-Identifier: Apache-2.0
// Conversions between float and the narrow formats against the oracle (tests/oracle/minifloat_oracle.hpp).
//
// Worked example: 1 + 2^-8 lies midway between the bf16 values 1 (0x3f80) and 1 + 2^-7 (0x3f81) and goes to the even
// 0x3f80; one float above the midpoint goes to 0x3f81.
//
// Normal run: every code decoded; encoded, per format: the 33 floats around every rounding boundary and a strided sweep
// over all float bit patterns. SWITCHYARD_EXHAUSTIVE=1 sweeps all 2^32 floats instead.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "oracle/minifloat_oracle.hpp"
#include "support/float_sweep.hpp"
#include "switchyard/hd/convert.hpp"

namespace hd = switchyard::hd;
using switchyard::Saturation;
using switchyard::ScaleRounding;

namespace {

/// Compares `narrow` with the oracle on the whole sweep and reports the first difference.
template <typename Narrow>
void check_narrowing(oracle::Minifloat const& format, Narrow const& narrow) {
  oracle::RoundingSteps const steps = oracle::rounding_steps(format);
  std::size_t hint = 0;
  support::SweepResult const result = support::sweep_floats(steps.first_float, [&](std::uint32_t bits) {
    return std::uint32_t{narrow(hd::bits_to<float>(bits)).bits} == oracle::round_to_code(steps, bits, hint);
  });
  MESSAGE(result.tried << " floats compared");
  CHECK_MESSAGE(result.mismatches == 0, "first mismatch: float bits " << result.first_mismatch);
}

/// Decodes every code and compares with the definition; a NaN must be the canonical float NaN.
template <typename Storage>
void check_widening(oracle::Minifloat const& format, std::uint32_t infinity_code) {
  for (std::uint32_t code = 0; code < 2 * format.sign_bit; ++code) {
    using Bits = decltype(Storage{}.bits);
    float const value = hd::widen(Storage{static_cast<Bits>(code)});
    std::uint32_t const magnitude = code & (format.sign_bit - 1);
    CAPTURE(code);
    if (magnitude > format.largest_finite && magnitude != infinity_code) {
      REQUIRE(oracle::float_bits(value) == 0x7fffffffu);
      continue;
    }
    double const expected =
        magnitude == infinity_code ? std::numeric_limits<double>::infinity() : oracle::value_of_code(format, magnitude);
    REQUIRE(static_cast<double>(value) == (code == magnitude ? expected : -expected));
    REQUIRE(std::signbit(value) == (code != magnitude));
  }
}

}  // namespace

TEST_CASE("bf16: worked example and the canonical NaN") {
  CHECK(switchyard::to_bf16(1.00390625f).bits == 0x3f80);
  CHECK(switchyard::to_bf16(std::nextafter(1.00390625f, 2.0f)).bits == 0x3f81);
  CHECK(switchyard::to_bf16(1.01171875f).bits == 0x3f82);
  CHECK(switchyard::to_bf16(hd::bits_to<float>(std::uint32_t{0xffc00001})).bits == 0x7fff);
  CHECK(switchyard::to_bf16(-0.0f).bits == 0x8000);
  CHECK(switchyard::to_f16(65519.996f).bits == 0x7bff);
  CHECK(switchyard::to_f16(65520.0f).bits == 0x7c00);
}

TEST_CASE("fp8: the ends of the range") {
  CHECK(switchyard::to_fp8_e4m3(464.0f, Saturation::none).bits == 0x7e);
  CHECK(switchyard::to_fp8_e4m3(-464.1f, Saturation::none).bits == 0x7f);
  CHECK(switchyard::to_fp8_e4m3(-464.1f, Saturation::saturate).bits == 0xfe);
  CHECK(switchyard::to_fp8_e5m2(61440.0f, Saturation::none).bits == 0x7c);
  CHECK(switchyard::to_fp8_e5m2(61439.9f, Saturation::none).bits == 0x7b);
  CHECK(switchyard::to_fp8_e5m2(-INFINITY, Saturation::saturate).bits == 0xfb);
  CHECK(switchyard::to_fp8_e4m3(0.0009765625f, Saturation::none).bits == 0x00);  // 2^-10, a tie with 2^-9
  CHECK(switchyard::to_fp8_e4m3(0.0009765626f, Saturation::none).bits == 0x01);
}

TEST_CASE("every code decodes to its definition") {
  check_widening<switchyard::bf16_t>(oracle::kBf16, 0x7f80);
  check_widening<switchyard::f16_t>(oracle::kF16, 0x7c00);
  check_widening<switchyard::fp8_e4m3_t>(oracle::kE4m3, 0x100);
  check_widening<switchyard::fp8_e5m2_t>(oracle::kE5m2, 0x7c);
}

TEST_CASE("float to bf16") {
  check_narrowing(oracle::kBf16, [](float x) { return hd::round_to_bf16(x); });
}
TEST_CASE("float to f16") {
  check_narrowing(oracle::kF16, [](float x) { return hd::round_to_f16(x); });
}
TEST_CASE("float to e4m3") {
  check_narrowing(oracle::kE4m3Saturating, [](float x) { return hd::round_to_e4m3(x, Saturation::saturate); });
  check_narrowing(oracle::kE4m3, [](float x) { return hd::round_to_e4m3(x, Saturation::none); });
}
TEST_CASE("float to e5m2") {
  check_narrowing(oracle::kE5m2Saturating, [](float x) { return hd::round_to_e5m2(x, Saturation::saturate); });
  check_narrowing(oracle::kE5m2, [](float x) { return hd::round_to_e5m2(x, Saturation::none); });
}

TEST_CASE("float to e8m0: every power of two, its neighbours and the ends") {
  for (int code = 0; code < 255; ++code) {
    CAPTURE(code);
    float const power = std::ldexp(1.0f, code - 127);
    auto const byte = static_cast<std::uint8_t>(code);
    REQUIRE(switchyard::to_float(switchyard::e8m0_t{byte}) == power);
    for (ScaleRounding const rounding : {ScaleRounding::toward_zero, ScaleRounding::up})
      REQUIRE(switchyard::to_e8m0(-power, rounding, Saturation::none).bits == byte);
    float const above = std::nextafter(power, INFINITY);
    REQUIRE(switchyard::to_e8m0(above, ScaleRounding::toward_zero, Saturation::none).bits == byte);
    REQUIRE(switchyard::to_e8m0(above, ScaleRounding::up, Saturation::none).bits == code + 1);  // 0xff past 2^127
  }
  CHECK(switchyard::to_e8m0(INFINITY, ScaleRounding::toward_zero, Saturation::saturate).bits == 0xfe);
  CHECK(switchyard::to_e8m0(INFINITY, ScaleRounding::toward_zero, Saturation::none).bits == 0xff);
  CHECK(switchyard::to_e8m0(3e38f, ScaleRounding::up, Saturation::saturate).bits == 0xfe);
  CHECK(switchyard::to_e8m0(0.0f, ScaleRounding::up, Saturation::none).bits == 0);
  CHECK(switchyard::to_e8m0(1e-45f, ScaleRounding::up, Saturation::none).bits == 0);
  CHECK(switchyard::to_e8m0(-NAN, ScaleRounding::up, Saturation::saturate).bits == 0xff);
  CHECK(oracle::float_bits(switchyard::to_float(switchyard::e8m0_t{0xff})) == 0x7fffffffu);
}

TEST_CASE("the library's functions are the shared header's") {
  support::SweepResult const result = support::sweep_floats({}, [](std::uint32_t bits) {
    float const x = hd::bits_to<float>(bits);
    return switchyard::to_bf16(x) == hd::round_to_bf16(x) && switchyard::to_f16(x) == hd::round_to_f16(x) &&
           switchyard::to_fp8_e4m3(x, Saturation::none) == hd::round_to_e4m3(x, Saturation::none) &&
           switchyard::to_fp8_e5m2(x, Saturation::saturate) == hd::round_to_e5m2(x, Saturation::saturate);
  });
  CHECK_MESSAGE(result.mismatches == 0, "first mismatch: float bits " << result.first_mismatch);
}
