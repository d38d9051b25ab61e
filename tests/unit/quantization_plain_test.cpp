// SPDX-License-Identifier: Apache-2.0
// The vector loops of the quantisers (backend_cpu/src/experts/plain_codes.hpp) against hd::encode, value by value, on
// every instruction set. The vector loops divide by multiplying with a reciprocal and two corrections, and round by
// adding a multiple of the value's binade; hd::encode divides and rounds in integers.
//
// By hand: a group of bf16 or f32 values with the leader 448 has the scale 1 in fp8_group: 1.0625 lies between the
// codes of 1 (0x38) and 1.125 (0x39), a tie that goes to the even code 0x38; the next float above it gives 0x39.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <type_traits>

#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/hd/quantize.hpp"

namespace {

namespace cpu = switchyard::cpu;
namespace hd = switchyard::hd;
using switchyard::bf16_t;
using switchyard::ConstTensorView;
using switchyard::QuantizedMatrix;
using switchyard::QuantScheme;
using switchyard::QuantSpec;

constexpr std::int64_t kColumns = 128;

QuantSpec spec_of(QuantScheme scheme) {
  QuantSpec spec;
  spec.scheme = scheme;
  spec.given_scale = 0.0371f;
  spec.upper_bound = 900.0f;
  spec.tensor_scale = 2.7f;
  return spec;
}

template <QuantScheme kScheme>
void reference_codes(QuantSpec const& spec, std::vector<float> const& values, float whole_absmax,
                     std::vector<std::uint32_t>& codes) {
  hd::QuantParameters const parameters{spec.given_scale, spec.upper_bound, spec.tensor_scale};
  std::size_t const group = kScheme == QuantScheme::mxfp8 ? 32 : kScheme == QuantScheme::nvfp4 ? 16 : kColumns;
  for (std::size_t first = 0; first < values.size(); first += group) {
    float absmax = 0;
    for (std::size_t i = first; i < first + group; ++i) absmax = std::fmax(absmax, std::fabs(values[i]));
    if (!spec.scales_per_row()) absmax = whole_absmax;
    float const factor = hd::group_scale<kScheme>(absmax, parameters).factor;
    for (std::size_t i = first; i < first + group; ++i) codes.push_back(hd::encode<kScheme>(values[i], factor));
  }
}

std::vector<std::uint32_t> reference(QuantSpec const& spec, std::vector<float> const& values) {
  std::vector<std::uint32_t> codes;
  float absmax = 0;
  for (float const value : values) absmax = std::fmax(absmax, std::fabs(value));
  auto const run = [&](auto scheme) { reference_codes<decltype(scheme)::value>(spec, values, absmax, codes); };
  switch (spec.scheme) {
#define SWITCHYARD_CASE(name) \
  case QuantScheme::name: run(std::integral_constant<QuantScheme, QuantScheme::name>{}); break
    SWITCHYARD_CASE(fp8_tensor);
    SWITCHYARD_CASE(fp8_tensor_dynamic);
    SWITCHYARD_CASE(fp8_token);
    SWITCHYARD_CASE(fp8_group);
    SWITCHYARD_CASE(fp8_group_ue8m0);
    SWITCHYARD_CASE(fp8_deepep);
    SWITCHYARD_CASE(int8_token);
    SWITCHYARD_CASE(int8_group);
    SWITCHYARD_CASE(mxfp8);
    SWITCHYARD_CASE(nvfp4);
#undef SWITCHYARD_CASE
  }
  return codes;
}

std::uint32_t code_at(QuantizedMatrix const& matrix, std::size_t index) {
  if (matrix.layout.code != switchyard::CodeFormat::e2m1) return static_cast<std::uint32_t>(matrix.codes[index]);
  return static_cast<std::uint32_t>(matrix.codes[index / 2]) >> (index % 2 * 4) & 15u;
}

/// Rows of kColumns values, on every instruction set. @return the first value that got another code, or -1
template <typename T>
std::int64_t first_difference(QuantSpec const& spec, std::vector<T> const& values) {
  std::vector<float> widened;
  for (T const value : values) widened.push_back(hd::widen(value));
  std::vector<std::uint32_t> const want = reference(spec, widened);
  auto const rows = static_cast<std::int64_t>(values.size()) / kColumns;
  QuantizedMatrix got = QuantizedMatrix::make(spec, rows, kColumns);
  std::int64_t wrong = -1;
  for (auto const set : cpu::available_instruction_sets()) {
    cpu::force_instruction_set(set);
    std::fill(got.codes.begin(), got.codes.end(), std::byte{0xa5});
    cpu::quantize(spec, ConstTensorView::matrix(std::span<T const>(values), rows, kColumns), got);
    for (std::size_t i = 0; i < values.size() && wrong < 0; ++i)
      if (code_at(got, i) != want[i]) wrong = static_cast<std::int64_t>(i);
    CAPTURE(to_string(set));
    CHECK(wrong < 0);
  }
  cpu::force_instruction_set({});
  return wrong;
}

float of_bits(std::uint32_t bits) {
  return hd::bits_to<float>(bits);
}

/// A row whose largest value is `leader`, of values at and next to the rounding boundaries of its scale.
void add_boundary_row(float leader, QuantScheme scheme, std::mt19937_64& random, std::vector<float>& values) {
  float const largest = scheme == QuantScheme::nvfp4                                             ? 6.0f
                        : scheme == QuantScheme::int8_token || scheme == QuantScheme::int8_group ? 127.0f
                                                                                                 : 448.0f;
  for (std::int64_t c = 0; c < kColumns; ++c) {
    // Multiples of 1/16 hold the boundaries of all formats, at several sizes.
    float const multiple = static_cast<float>(random() % 8192) / 16.0f / static_cast<float>(1 << (random() % 16));
    float const near = std::fmin(leader, leader / largest * multiple);
    std::uint32_t const bits = hd::bits_to<std::uint32_t>(near) + static_cast<std::uint32_t>(random() % 9);
    float const value = std::fmin(leader, of_bits(bits < 4 ? bits : bits - 4));
    values.push_back(c % 16 == 0 ? leader : random() % 2 == 0 ? value : -value);
  }
}

TEST_CASE("the example by hand") {
  std::vector<float> values(kColumns, 1.0625f);
  values[0] = 448;
  values[1] = std::nextafter(1.0625f, 2.0f);
  QuantSpec const spec = spec_of(QuantScheme::fp8_group);
  auto const got = cpu::quantize(spec, ConstTensorView::matrix(std::span<float const>(values), 1, kColumns));
  CHECK(got.codes[0] == std::byte{0x7e});
  CHECK(got.codes[1] == std::byte{0x39});
  CHECK(got.codes[2] == std::byte{0x38});
}

TEST_CASE("values next to rounding boundaries, leaders of every size") {
  std::uint64_t const seed = 20251122;
  std::mt19937_64 random(seed);
  for (QuantScheme const scheme : switchyard::kAllQuantSchemes) {
    std::vector<float> values;
    std::vector<bf16_t> narrow;
    for (int row = 0; row < 1500; ++row) {
      float const mantissa = 1.0f + static_cast<float>(random() % (1 << 23)) * 0x1p-23f;
      add_boundary_row(std::ldexp(mantissa, static_cast<int>(random() % 254) - 126), scheme, random, values);
    }
    for (float const value : values) narrow.push_back(hd::narrow<bf16_t>(value * 0.5f));
    CAPTURE(seed);
    CAPTURE(to_string(scheme));
    CHECK(first_difference(spec_of(scheme), values) == -1);
    CHECK(first_difference(spec_of(scheme), narrow) == -1);
  }
}

TEST_CASE("rows of powers of two, zeros and subnormals only") {
  for (QuantScheme const scheme : switchyard::kAllQuantSchemes) {
    std::vector<float> values;
    for (int exponent = -149; exponent < 128; ++exponent)
      for (std::int64_t c = 0; c < kColumns; ++c)
        values.push_back(std::ldexp(c % 2 == 0 ? 1.0f : -1.0f, exponent - static_cast<int>(c % 24)));
    for (std::int64_t c = 0; c < kColumns; ++c) values.push_back(c % 2 == 0 ? 0.0f : -0.0f);
    CAPTURE(to_string(scheme));
    CHECK(first_difference(spec_of(scheme), values) == -1);
  }
}

TEST_CASE(
    "floats below three leaders: every 4099th; SWITCHYARD_EXHAUSTIVE=1: all below 1.7, every 61st of the others") {
  bool const all = std::getenv("SWITCHYARD_EXHAUSTIVE") != nullptr;
  std::int64_t tried = 0;
  for (float const leader : {0x1.fffffep+127f, 1.7f, 0x1.234568p-20f})
    for (QuantScheme const scheme : switchyard::kAllQuantSchemes) {
      std::uint32_t const step = !all ? 4099 : leader == 1.7f ? 1 : 61;
      std::uint32_t const top = hd::bits_to<std::uint32_t>(leader);
      std::vector<float> values;
      for (std::uint64_t bits = 0; bits <= top; bits += step) {
        if (values.size() % 16 == 0) values.push_back(leader);
        values.push_back(of_bits(static_cast<std::uint32_t>(bits) | (bits % 3 == 0 ? 0x80000000u : 0u)));
        if (values.size() < (1u << 20) && bits + step <= top) continue;
        values.resize((values.size() + kColumns - 1) / kColumns * kColumns, leader);
        tried += static_cast<std::int64_t>(values.size());
        CAPTURE(leader);
        CAPTURE(to_string(scheme));
        REQUIRE(first_difference(spec_of(scheme), values) == -1);
        values.clear();
      }
    }
  MESSAGE("values tried: " << tried);
}

}  // namespace
