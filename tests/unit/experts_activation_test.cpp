// SPDX-License-Identifier: Apache-2.0
// Activations and slopes against fp64, on all bf16 values; special values; names.
//
// By hand: swigluoai with limit 7, g = 9, u = -8: g -> 7, u -> -7, 7 / (1 + e^(-11.914)) * (-7 + 1).
#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "switchyard/experts/expert_mlp.hpp"
#include "switchyard/hd/activation.hpp"
#include "switchyard/hd/convert.hpp"

namespace {

namespace hd = switchyard::hd;
using switchyard::Activation;

double swish(double x, double slope) {
  return x / (1 + std::exp(-slope * x));
}
double swish_slope(double x, double slope) {
  double const s = 1 / (1 + std::exp(-slope * x));
  return s * (1 + slope * x * (1 - s));
}

double exact(Activation kind, double x, double limit) {
  double const bounded = std::min(x, limit);
  switch (kind) {
    case Activation::silu: return swish(x, 1);
    case Activation::gelu: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_quick: return swish(x, 1.702);
    case Activation::relu2: return x > 0 ? x * x : 0;
    case Activation::swigluoai: return swish(bounded, 1.702);
    case Activation::swiglu_limit: return swish(bounded, 1);
  }
  return 0;
}

double exact_slope(Activation kind, double x, double limit) {
  switch (kind) {
    case Activation::silu: return swish_slope(x, 1);
    case Activation::gelu: return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
    case Activation::gelu_tanh: {
      double const k = std::sqrt(2 / M_PI);
      double const t = std::tanh(k * (x + 0.044715 * x * x * x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x);
    }
    case Activation::gelu_quick: return swish_slope(x, 1.702);
    case Activation::relu2: return x > 0 ? 2 * x : 0;
    case Activation::swigluoai: return x > limit ? 0 : swish_slope(x, 1.702);
    case Activation::swiglu_limit: return x > limit ? 0 : swish_slope(x, 1);
  }
  return 0;
}

template <typename Visit>
void for_each_kind(Visit const& visit) {
  visit(std::integral_constant<Activation, Activation::silu>{});
  visit(std::integral_constant<Activation, Activation::gelu>{});
  visit(std::integral_constant<Activation, Activation::gelu_tanh>{});
  visit(std::integral_constant<Activation, Activation::gelu_quick>{});
  visit(std::integral_constant<Activation, Activation::relu2>{});
  visit(std::integral_constant<Activation, Activation::swigluoai>{});
  visit(std::integral_constant<Activation, Activation::swiglu_limit>{});
}

constexpr float kLimit = 7.0f;

TEST_CASE("every activation and slope on all bf16 values up to 2^20, error in units of 2^-24 max(|x|, 1)") {
  for_each_kind([](auto constant) {
    constexpr Activation kKind = decltype(constant)::value;
    double worst = 0;
    double worst_slope = 0;
    for (std::uint32_t code = 0; code < 0x10000; ++code) {
      float const x = hd::widen(switchyard::bf16_t{static_cast<std::uint16_t>(code)});
      if (!(std::fabs(x) < 0x1p+20f)) continue;
      double const unit = std::ldexp(std::max(1.0, std::fabs(static_cast<double>(x))), -24);
      double const power = kKind == Activation::relu2 ? std::max(1.0, std::fabs(static_cast<double>(x))) : 1.0;
      double const error = std::fabs(static_cast<double>(hd::activate<kKind>(x, kLimit)) - exact(kKind, x, kLimit));
      double const slope_error =
          std::fabs(static_cast<double>(hd::activation_slope<kKind>(x, kLimit)) - exact_slope(kKind, x, kLimit));
      worst = std::max(worst, error / unit / power);
      worst_slope = std::max(worst_slope, slope_error / unit);
    }
    CAPTURE(to_string(kKind));
    MESSAGE(to_string(kKind) << ": value " << worst << ", slope " << worst_slope);
    CHECK(worst < 2.0);
    CHECK(worst_slope < 2.0);
  });
}

TEST_CASE("special values") {
  float const inf = std::numeric_limits<float>::infinity();
  float const nan = std::numeric_limits<float>::quiet_NaN();
  for_each_kind([&](auto constant) {
    constexpr Activation kKind = decltype(constant)::value;
    CAPTURE(to_string(kKind));
    CHECK(std::isnan(hd::activate<kKind>(nan, kLimit)));
    CHECK(std::isnan(hd::activate<kKind>(-nan, kLimit)));
    CHECK(std::isnan(hd::activation_slope<kKind>(nan, kLimit)));
    CHECK(hd::activate<kKind>(0.0f, kLimit) == 0.0f);
    bool const clamped = kKind == Activation::swigluoai || kKind == Activation::swiglu_limit;
    CHECK((clamped ? hd::activate<kKind>(inf, kLimit) == hd::activate<kKind>(kLimit, kLimit)
                   : hd::activate<kKind>(inf, kLimit) == inf));
  });
  CHECK(std::isnan(hd::up_term<Activation::swigluoai>(nan, kLimit)));
  CHECK(hd::up_term<Activation::swigluoai>(-8.0f, kLimit) == -6.0f);
  CHECK(hd::up_term<Activation::swiglu_limit>(8.0f, kLimit) == 7.0f);
  CHECK(hd::up_term<Activation::silu>(8.0f, kLimit) == 8.0f);
  CHECK(hd::up_slope<Activation::swigluoai>(7.5f, kLimit) == 0.0f);
  CHECK(hd::up_slope<Activation::swigluoai>(-7.0f, kLimit) == 1.0f);
  CHECK(hd::activation_slope<Activation::swiglu_limit>(7.5f, kLimit) == 0.0f);
  float const hand =
      hd::mul_rn(hd::activate<Activation::swigluoai>(9.0f, kLimit), hd::up_term<Activation::swigluoai>(-8.0f, kLimit));
  CHECK(std::fabs(static_cast<double>(hand) - 7 / (1 + std::exp(-1.702 * 7)) * -6) < 1e-5);
}

TEST_CASE("names") {
  for (Activation const kind : switchyard::kAllActivations)
    CHECK(switchyard::parse_activation(to_string(kind)) == kind);
  CHECK_FALSE(switchyard::parse_activation("swish").has_value());
}

}  // namespace
