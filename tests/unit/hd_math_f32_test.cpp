// SPDX-License-Identifier: Apache-2.0
// The fp32 elementary functions of hd/math_f32.hpp against double precision.
//
// Worked example: exp(1) = 2.71828182845904... lies between the floats 0x402df854 (2.71828174...) and 0x402df855; the
// first is the nearer one and is what hd::exp gives.
//
// Normal run: all 65,536 bf16 values, the 33 floats around every threshold of the implementations, and every 997th
// float. SWITCHYARD_EXHAUSTIVE=1 takes all 2^32 floats instead. A function's bound is in units in the last place of the
// exact result, subnormal results in units of 2^-149. The digests pin the bits: another compiler, flag set or backend
// that changes any of the sampled results fails here.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/float_sweep.hpp"
#include "switchyard/hd/math_f32.hpp"
#include "switchyard/hd/mix.hpp"

namespace hd = switchyard::hd;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

/// The weight of one last place of the float next to `exact`.
double last_place_of(double exact) {
  double const size = std::fabs(exact);
  if (size < 0x1p-126) return 0x1p-149;
  int exponent = 0;
  std::frexp(size, &exponent);
  return std::ldexp(1.0, exponent - 24);
}

/// The error of `value` in last places; huge where NaN, infinity or the sign of zero is wrong.
double error_in_last_places(float value, double exact) {
  constexpr double kWrong = 1e9;
  auto const bits = hd::bits_to<std::uint32_t>(value);
  if (std::isnan(exact)) return bits == hd::kCanonicalNan32 ? 0.0 : kWrong;
  auto const rounded = static_cast<float>(exact);
  if (std::isinf(rounded) || std::isinf(value)) return rounded == value ? 0.0 : kWrong;
  if (value == 0.0f && rounded == 0.0f && std::signbit(value) != std::signbit(rounded)) return kWrong;
  return std::fabs(static_cast<double>(value) - exact) / last_place_of(exact);
}

/// Tries all bf16 values and the sweep, and checks that no error exceeds `bound`.
template <typename Function, typename Exact>
void check_accuracy(std::vector<float> const& thresholds, double bound, Function const& function, Exact const& exact) {
  double worst = 0.0;
  std::uint32_t worst_at = 0;
  auto const visit = [&](std::uint32_t bits) {
    auto const x = hd::bits_to<float>(bits);
    double const error = error_in_last_places(function(x), exact(static_cast<double>(x)));
    if (error > worst) {
      worst = error;
      worst_at = bits;
    }
    return error <= bound;
  };
  for (std::uint32_t code = 0; code < 65536; ++code) visit(code << 16);
  std::vector<std::uint32_t> boundaries{0u, 0x00800000u, 0x7f800000u};
  for (float const threshold : thresholds) boundaries.push_back(hd::bits_to<std::uint32_t>(threshold));
  support::SweepResult const result = support::sweep_floats(boundaries, visit);
  MESSAGE("largest error " << worst << " last places at float bits " << worst_at << ", " << result.tried << " tried");
  CHECK_MESSAGE(worst <= bound, "at float bits " << worst_at);
}

/// The sum of fingerprint words of a function's results on every 65,521st float.
template <typename Function>
std::uint64_t digest_of(Function const& function) {
  std::uint64_t sum = 0;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 65521)
    sum += hd::fingerprint_word(
        0, bits, hd::bits_to<std::uint32_t>(function(hd::bits_to<float>(static_cast<std::uint32_t>(bits)))));
  return sum;
}

double exact_softplus(double x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}
double exact_sigmoid(double x) {
  return x >= 0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x));
}

}  // namespace

TEST_CASE("exp") {
  CHECK(hd::bits_to<std::uint32_t>(hd::exp(1.0f)) == 0x402df854u);
  CHECK(hd::exp(0.0f) == 1.0f);
  CHECK(hd::exp(-kInf) == 0.0f);
  CHECK_FALSE(std::signbit(hd::exp(-kInf)));
  CHECK(hd::exp(kInf) == kInf);
  CHECK(hd::exp(-103.0f) > 0.0f);
  check_accuracy(
      {88.72284f, 89.0f, 87.33655f, 103.97208f, 104.0f, 0.34657359f}, 0.90, [](float x) { return hd::exp(x); },
      [](double x) { return std::exp(x); });
}

TEST_CASE("log") {
  CHECK(hd::log(1.0f) == 0.0f);
  CHECK_FALSE(std::signbit(hd::log(1.0f)));
  CHECK(hd::log(0.0f) == -kInf);
  CHECK(hd::log(-0.0f) == -kInf);
  check_accuracy(
      {0.70710678f, 1.0f, 1.41421356f, 2.0f}, 0.85, [](float x) { return hd::log(x); },
      [](double x) { return std::log(x); });
}

TEST_CASE("softplus") {
  check_accuracy(
      {17.0f, 88.0f, 104.0f}, 2.0, [](float x) { return hd::softplus(x); }, exact_softplus);
}

TEST_CASE("sigmoid") {
  CHECK(hd::sigmoid(0.0f) == 0.5f);
  CHECK(hd::sigmoid(kInf) == 1.0f);
  check_accuracy(
      {17.0f, 88.0f, 104.0f}, 2.0, [](float x) { return hd::sigmoid(x); }, exact_sigmoid);
}

TEST_CASE("tanh") {
  check_accuracy(
      {0.55f, 9.01f, 44.0f}, 1.45, [](float x) { return hd::tanh(x); }, [](double x) { return std::tanh(x); });
}

TEST_CASE("erf") {
  check_accuracy(
      {1.0f, 3.9192059f, 4.0f}, 1.35, [](float x) { return hd::erf(x); }, [](double x) { return std::erf(x); });
}

TEST_CASE("square root and its reciprocal") {
  check_accuracy(
      {1.0f}, 0.5, [](float x) { return hd::sqrt(x); }, [](double x) { return std::sqrt(x); });
  check_accuracy(
      {1.0f}, 1.5, [](float x) { return hd::rsqrt(x); }, [](double x) { return 1.0 / std::sqrt(x); });
}

TEST_CASE("tanh and erf are odd to the bit") {
  for (std::uint32_t bits = 0; bits <= 0x7f800000u; bits += 10007) {
    auto const x = hd::bits_to<float>(bits);
    REQUIRE(hd::bits_to<std::uint32_t>(hd::tanh(-x)) == (hd::bits_to<std::uint32_t>(hd::tanh(x)) ^ 0x80000000u));
    REQUIRE(hd::bits_to<std::uint32_t>(hd::erf(-x)) == (hd::bits_to<std::uint32_t>(hd::erf(x)) ^ 0x80000000u));
  }
}

TEST_CASE("the bits are the same under every compiler and flag set") {
  CHECK(digest_of([](float x) { return hd::exp(x); }) == 0xfd4c2c2e1fc6f2a4u);
  CHECK(digest_of([](float x) { return hd::log(x); }) == 0x470ef91a668564c9u);
  CHECK(digest_of([](float x) { return hd::softplus(x); }) == 0xd20e0ed1fda1e4e8u);
  CHECK(digest_of([](float x) { return hd::sigmoid(x); }) == 0x494a4ac2f9e61ffau);
  CHECK(digest_of([](float x) { return hd::tanh(x); }) == 0x74a2d5e0539c682eu);
  CHECK(digest_of([](float x) { return hd::erf(x); }) == 0xfcb75ff527cf7fcfu);
  CHECK(digest_of([](float x) { return hd::sqrt(x); }) == 0x0bd1be8d994b90a9u);
  CHECK(digest_of([](float x) { return hd::rsqrt(x); }) == 0x7aefaf79d838591cu);
}
