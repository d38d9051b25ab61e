// SPDX-License-Identifier: Apache-2.0
// hd/elementary.hpp and hd/arithmetic.hpp: accuracy against long double libm, special values, fixed bits.
//
// The promise is equal bits everywhere, so a few results are also pinned as bit patterns: a compiler that contracted or
// reordered would change one of 60,000 mixed into a digest.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "switchyard/hd/elementary.hpp"
#include "switchyard/hd/mix.hpp"
#include "switchyard/hd/philox.hpp"

namespace hd = switchyard::hd;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kDenormMin = std::numeric_limits<double>::denorm_min();
constexpr std::uint64_t kSeed = 20240607;

double uniform(std::uint64_t stream, std::uint64_t index) {
  return static_cast<double>(hd::philox_bits(kSeed, stream, index) >> 11) * 0x1p-53;
}

/// |value - exact| in units of the last place of a double at exact.
double ulps(double value, long double exact) {
  int const exponent = std::max(std::ilogb(exact), -1022);
  return static_cast<double>(std::fabs((static_cast<long double>(value) - exact) / std::ldexp(1.0L, exponent - 52)));
}

/// |z - z(p)| / |z| by one Newton step in long double.
double quantile_error(double p, double z) {
  long double const root2 = std::sqrt(2.0L);
  long double const pi = std::acos(-1.0L);
  long double const target = p;
  long double const excess = p > 0.1 && p < 0.9 ? std::erf(z / root2) / 2 - (target - 0.5L)
                             : p < 0.5          ? std::erfc(-z / root2) / 2 - target
                                                : (1.0L - target) - std::erfc(z / root2) / 2;
  long double const density = std::exp(-0.5L * z * z) / std::sqrt(2 * pi);
  return static_cast<double>(std::fabs(excess / density / z));
}

bool is_canonical_nan(double value) {
  return hd::bits_to<std::uint64_t>(value) == hd::kCanonicalNan64;
}

}  // namespace

TEST_CASE("exp is within 2 ulp of long double over its whole range") {
  double worst = 0;
  for (std::uint64_t i = 0; i < 300000; ++i) {
    double const u = uniform(1, i);
    double const x = i % 3 == 0 ? u * 1454.9 - 745.13 : i % 3 == 1 ? (u - 0.5) * 2 : (u - 0.5) * 80;
    worst = std::max(worst, ulps(hd::exp(x), std::exp(static_cast<long double>(x))));
  }
  MESSAGE("worst error " << worst << " ulp (seed " << kSeed << ")");
  CHECK(worst < 2.0);
}

TEST_CASE("exp: special values and the ends of the range") {
  CHECK(hd::exp(0.0) == 1.0);
  CHECK(hd::exp(-0.0) == 1.0);
  CHECK(hd::exp(kInfinity) == kInfinity);
  CHECK(hd::exp(-kInfinity) == 0.0);
  CHECK(is_canonical_nan(hd::exp(-std::nan("5"))));
  CHECK(hd::exp(709.782712893384) < kInfinity);
  CHECK(hd::exp(std::nextafter(709.782712893384, 1000.0)) == kInfinity);
  CHECK(hd::exp(-745.13) == kDenormMin);
  CHECK(hd::exp(-745.14) == 0.0);
  CHECK(hd::exp(kDenormMin) == 1.0);
}

TEST_CASE("log is within 2 ulp of long double, also next to 1 and in the subnormals") {
  double worst = 0;
  for (std::uint64_t i = 0; i < 300000; ++i) {
    double const u = uniform(2, i);
    double const anywhere = hd::bits_to<double>(hd::philox_bits(kSeed, 3, i) % 0x7ff0000000000000u);
    double const x = i % 3 == 0 ? anywhere : i % 3 == 1 ? 0.5 + 2 * u : 1 + (u - 0.5) * 0.01;
    if (x > 0 && x != 1) worst = std::max(worst, ulps(hd::log(x), std::log(static_cast<long double>(x))));
  }
  for (std::uint64_t bits = 1; bits < 5000; ++bits) {
    double const x = hd::bits_to<double>(bits);
    worst = std::max(worst, ulps(hd::log(x), std::log(static_cast<long double>(x))));
  }
  MESSAGE("worst error " << worst << " ulp (seed " << kSeed << ")");
  CHECK(worst < 2.0);
}

TEST_CASE("log: special values") {
  CHECK(hd::log(1.0) == 0.0);
  CHECK_FALSE(std::signbit(hd::log(1.0)));
  CHECK(hd::log(0.0) == -kInfinity);
  CHECK(hd::log(-0.0) == -kInfinity);
  CHECK(hd::log(kInfinity) == kInfinity);
  CHECK(is_canonical_nan(hd::log(-1.0)));
  CHECK(is_canonical_nan(hd::log(-kDenormMin)));
  CHECK(is_canonical_nan(hd::log(std::nan(""))));
}

TEST_CASE("normal_quantile is within 1e-14 relative and odd around one half") {
  double worst = 0;
  for (std::uint64_t i = 0; i < 60000; ++i) {
    double const u = uniform(4, i);
    double const p = i % 3 == 0 ? u : i % 3 == 1 ? hd::exp(-u * 740) : 0.5 + (u - 0.5) * 1e-3;
    if (!(p > 0 && p < 1) || p == 0.5) continue;
    double const z = hd::normal_quantile(p);
    worst = std::max(worst, quantile_error(p, z));
    double const mirrored = 1.0 - p;
    if (1.0 - mirrored == p) REQUIRE(hd::normal_quantile(mirrored) == -z);
  }
  MESSAGE("worst relative error " << worst << " (seed " << kSeed << ")");
  CHECK(worst < 1e-14);
}

TEST_CASE("normal_quantile: special values and seams between the three approximations") {
  CHECK(hd::normal_quantile(0.5) == 0.0);
  CHECK(hd::normal_quantile(0.0) == -kInfinity);
  CHECK(hd::normal_quantile(1.0) == kInfinity);
  CHECK(hd::normal_quantile(0.975) == doctest::Approx(1.959963984540054).epsilon(1e-15));
  CHECK(hd::normal_quantile(kDenormMin) == doctest::Approx(-38.46740561714434).epsilon(1e-14));
  for (double const outside : {-0.1, 1.1, -kInfinity, kInfinity, std::nan("")})
    CHECK(is_canonical_nan(hd::normal_quantile(outside)));
  for (double const seam : {0.075, 0.925, 1.3887943864964021e-11}) {  // |q| = 0.425 and r = 5
    double p = seam;
    for (int i = 0; i < 20; ++i) p = std::nextafter(p, 0.0);
    for (double last = hd::normal_quantile(p), i = 0; i < 40; ++i) {
      p = std::nextafter(p, 1.0);
      double const z = hd::normal_quantile(p);
      CHECK(z >= last - std::fabs(z) * 1e-15);
      last = z;
    }
  }
}

TEST_CASE("the bits are pinned") {
  std::uint64_t digest = 0;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    double const u = uniform(5, i);
    for (double const value : {hd::exp((u - 0.5) * 100), hd::log(u), hd::normal_quantile(u)})
      digest = hd::mix64(digest + hd::bits_to<std::uint64_t>(value));
  }
  CHECK(digest == 0x1e217072527f95a4u);
}

TEST_CASE("min and max propagate NaN and order the zeros") {
  float const nan = std::nanf("7");
  for (float const other : {1.0f, -INFINITY, nan}) {
    CHECK(hd::bits_to<std::uint32_t>(hd::min_propagate(other, nan)) == hd::kCanonicalNan32);
    CHECK(hd::bits_to<std::uint32_t>(hd::max_propagate(nan, other)) == hd::kCanonicalNan32);
  }
  CHECK(std::signbit(hd::min_propagate(0.0f, -0.0f)));
  CHECK(std::signbit(hd::min_propagate(-0.0f, 0.0f)));
  CHECK_FALSE(std::signbit(hd::max_propagate(0.0f, -0.0f)));
  CHECK_FALSE(std::signbit(hd::max_propagate(-0.0f, 0.0f)));
  CHECK(hd::min_propagate(-1.0f, 2.0f) == -1.0f);
  CHECK(hd::max_propagate(-1.0f, INFINITY) == INFINITY);
  CHECK(hd::min_propagate(3.0f, 3.0f) == 3.0f);
}

TEST_CASE("canonical() changes NaNs only; fma_rn is fused, mul_then_add is not") {
  CHECK(hd::bits_to<std::uint32_t>(hd::canonical(hd::bits_to<float>(std::uint32_t{0xff800001}))) == 0x7fffffffu);
  CHECK(is_canonical_nan(hd::canonical(hd::bits_to<double>(std::uint64_t{0xfff0000000000001}))));
  for (std::uint32_t const bits : {0u, 0x80000000u, 1u, 0x807fffffu, 0x7f800000u, 0xff800000u, 0x7f7fffffu})
    CHECK(hd::bits_to<std::uint32_t>(hd::canonical(hd::bits_to<float>(bits))) == bits);
  float const x = 1.0f + 0x1p-12f;  // x * x = 1 + 2^-11 + 2^-24, a tie that rounds to 1 + 2^-11
  CHECK(hd::mul_then_add(x, x, -(1.0f + 0x1p-11f)) == 0.0f);
  CHECK(hd::fma_rn(x, x, -(1.0f + 0x1p-11f)) == 0x1p-24f);
}
