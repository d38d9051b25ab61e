// SPDX-License-Identifier: Apache-2.0
// Quantisers and their inverse against plain formulas.
//
// By hand: int8 per token of (2, -1, 0.5, 0): a = 2, s = 2/127, factor 63.5: 127, -63.5 -> -64 (halves away from zero),
// 31.75 -> 32, 0. int8 group of the same: x/s = 127, -63.5 -> -63 (cut), 31.75 -> 31, 0.
// nvfp4, g = 1, of (6, 3, -1, 0.25): s = e4m3(6 * (1/6)) = 1; codes 7 (6), 5 (3), 8+2 (-1), 0 (the tie to even).
#include <doctest/doctest.h>

#include <cstring>
#include <random>

#include "oracle/quant_oracle.hpp"
#include "support/error_text.hpp"
#include "support/float_sweep.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/hd/quantize.hpp"

namespace {

namespace cpu = switchyard::cpu;
namespace hd = switchyard::hd;
using support::contains;
using support::error_text;
using switchyard::bf16_t;
using switchyard::CodeFormat;
using switchyard::ConstTensorView;
using switchyard::DType;
using switchyard::ErrorCode;
using switchyard::QuantizedMatrix;
using switchyard::QuantizedView;
using switchyard::QuantLayout;
using switchyard::QuantScheme;
using switchyard::QuantSpec;
using switchyard::ScaleFormat;

float bits_to_float(std::uint32_t bits) {
  return hd::bits_to<float>(bits);
}

/// The largest magnitude, NaNs left out.
float absmax(std::vector<float> const& values) {
  float largest = 0;
  for (float const value : values)
    if (std::fabs(value) > largest) largest = std::fabs(value);
  return largest;
}

float parameter_of(QuantSpec const& spec) {
  if (spec.scheme == QuantScheme::fp8_tensor) return spec.given_scale;
  return spec.scheme == QuantScheme::fp8_token ? spec.upper_bound : spec.tensor_scale;
}

unsigned code_at(QuantizedMatrix const& matrix, std::size_t row, std::size_t column) {
  auto const columns = static_cast<std::size_t>(matrix.columns);
  if (matrix.layout.code != CodeFormat::e2m1) return static_cast<unsigned>(matrix.codes[row * columns + column]);
  return static_cast<unsigned>(matrix.codes[row * ((columns + 1) / 2) + column / 2]) >> (column % 2 * 4) & 15u;
}

/// Compares scale and codes of every group with the oracle. @return the number of differences.
int differences(QuantSpec const& spec, std::vector<float> const& values, QuantizedMatrix const& got) {
  auto const columns = static_cast<std::size_t>(got.columns);
  auto const rows = static_cast<std::size_t>(got.rows);
  std::size_t const width =
      got.layout.group_columns == 0 ? columns : static_cast<std::size_t>(got.layout.group_columns);
  int wrong = 0;
  std::size_t group_index = 0;
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t first = 0; first < columns; first += width, ++group_index) {
      auto const begin = values.begin() + static_cast<std::ptrdiff_t>(row * columns + first);
      std::vector<float> const x(begin, begin + static_cast<std::ptrdiff_t>(std::min(width, columns - first)));
      float const largest = absmax(spec.scales_per_row() ? x : values);
      auto const want = oracle::quantise_group(std::string(to_string(spec.scheme)), x, largest, parameter_of(spec));
      std::size_t const stored = spec.scales_per_row() ? group_index : 0;
      if (got.layout.scale == ScaleFormat::f32) {
        wrong += std::memcmp(&got.scales[4 * stored], &want.scale, 4) != 0;
      } else {
        wrong += static_cast<unsigned>(got.scales[stored]) != want.code;
      }
      for (std::size_t i = 0; i < x.size(); ++i) wrong += code_at(got, row, first + i) != want.values[i];
    }
  return wrong;
}

template <typename T>
QuantizedMatrix quantised(QuantSpec const& spec, std::vector<T> const& values, std::int64_t columns) {
  auto const rows = static_cast<std::int64_t>(values.size()) / columns;
  QuantizedMatrix out = QuantizedMatrix::make(spec, rows, columns);
  std::fill(out.codes.begin(), out.codes.end(), std::byte{0xa5});
  std::fill(out.scales.begin(), out.scales.end(), std::byte{0xa5});
  cpu::quantize(spec, ConstTensorView::matrix(std::span<T const>(values), rows, columns), out);
  return out;
}

QuantSpec spec_of(QuantScheme scheme) {
  QuantSpec spec;
  spec.scheme = scheme;
  spec.given_scale = 0.037f;
  spec.upper_bound = scheme == QuantScheme::fp8_token ? 1200.0f : spec.upper_bound;
  spec.tensor_scale = 3.1f;
  return spec;
}

TEST_CASE("the examples by hand") {
  std::vector<float> const x = {2, -1, 0.5f, 0};
  auto const codes = [](QuantizedMatrix const& m) {
    std::vector<int> out;
    for (std::byte const b : m.codes) out.push_back(static_cast<std::int8_t>(b));
    return out;
  };
  CHECK(codes(quantised(spec_of(QuantScheme::int8_token), x, 4)) == std::vector<int>{127, -64, 32, 0});
  CHECK(codes(quantised(spec_of(QuantScheme::int8_group), x, 4)) == std::vector<int>{127, -63, 31, 0});
  QuantSpec fp4 = spec_of(QuantScheme::nvfp4);
  fp4.tensor_scale = 1;
  std::vector<float> const y = {6, 3, -1, 0.25f};
  auto const packed = quantised(fp4, y, 4);
  CHECK(packed.scales == std::vector<std::byte>{std::byte{0x38}});
  CHECK(packed.codes == std::vector<std::byte>{std::byte{0x57}, std::byte{0x0a}});
  std::vector<float> back(4);
  cpu::dequantize(packed.view(), back);
  CHECK(back == std::vector<float>{6, 3, -1, 0});
}

TEST_CASE("codes of e4m3, e2m1 and int8 over the floats: all 2^32 with SWITCHYARD_EXHAUSTIVE=1") {
  std::vector<std::uint32_t> boundaries = {0, 0x7f800000u, 0x3f000000u, 0x42fe0000u, 0x43000000u, 0x43e00000u};
  for (double const value : oracle::e4m3_values())
    boundaries.push_back(hd::bits_to<std::uint32_t>(static_cast<float>(value)));
  for (float const value : {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f})
    boundaries.push_back(hd::bits_to<std::uint32_t>(value));
  auto const result = support::sweep_floats(boundaries, [](std::uint32_t bits) {
    float const x = bits_to_float(bits);
    bool good = hd::encode_e4m3(x) == hd::round_to_e4m3(x, switchyard::Saturation::saturate).bits;
    unsigned const nearest = std::isnan(x) ? 0 : oracle::byte_of(std::round(std::min(127.0f, std::max(-127.0f, x))));
    unsigned const cut = std::isnan(x) ? 0 : oracle::byte_of(std::trunc(std::min(127.0f, std::max(-128.0f, x))));
    good = good && hd::encode_int8_round(x) == nearest && hd::encode_int8_truncate(x) == cut;
    return good && hd::encode_e2m1(x) == oracle::e2m1_code(x);
  });
  MESSAGE("floats tried: " << result.tried);
  CHECK_MESSAGE(result.mismatches == 0, "first " << result.first_mismatch);
}

TEST_CASE("every scheme on every bf16 value in mixed company, every instruction set, 1 and 7 workers") {
  std::vector<std::uint16_t> codes;
  for (std::uint32_t code = 0; code < 0x10000; ++code) codes.push_back(static_cast<std::uint16_t>(code));
  std::mt19937 random(11);
  for (bool const shuffled : {false, true}) {
    if (shuffled) std::shuffle(codes.begin(), codes.end(), random);
    std::vector<bf16_t> values;
    std::vector<float> widened;
    for (std::uint16_t const code : codes) {
      values.push_back(bf16_t{code});
      widened.push_back(to_float(bf16_t{code}));
    }
    for (QuantScheme const scheme : switchyard::kAllQuantSchemes) {
      QuantSpec const spec = spec_of(scheme);
      for (auto const set : cpu::available_instruction_sets()) {
        cpu::force_instruction_set(set);
        cpu::set_worker_count(set == cpu::InstructionSet::baseline ? 1 : 7);
        CAPTURE(to_string(scheme));
        CAPTURE(to_string(set));
        CAPTURE(shuffled);
        CHECK(differences(spec, widened, quantised(spec, values, 256)) == 0);
      }
    }
  }
  cpu::force_instruction_set({});
  cpu::set_worker_count(0);
}

TEST_CASE("f32 rows: magnitudes, ragged groups, zeros, NaN, infinity, subnormals") {
  std::mt19937_64 random(20250612);
  float const inf = std::numeric_limits<float>::infinity();
  for (std::int64_t const columns : {1, 15, 16, 31, 33, 129, 1030}) {
    std::vector<float> values;
    for (int row = 0; row < 12; ++row) {
      float const top = std::ldexp(1.0f, static_cast<int>(random() % 60) - 30);
      std::normal_distribution<float> normal(0.0f, top);
      for (std::int64_t c = 0; c < columns; ++c) values.push_back(row == 0 ? 0.0f : normal(random));
    }
    auto const at = [&](int row) { return static_cast<std::size_t>(row * columns + columns / 2); };
    values[at(1)] = bits_to_float(0xffc01234u);
    values[at(2)] = -inf;
    values[at(3)] = 0x1p-149f;
    values[at(4)] = 3e38f;
    for (std::int64_t c = 0; c < columns; ++c) values[static_cast<std::size_t>(5 * columns + c)] = -0.0f;
    for (QuantScheme const scheme : switchyard::kAllQuantSchemes) {
      for (std::int64_t const group : {128, 32, 7}) {
        QuantSpec spec = spec_of(scheme);
        spec.group_columns = group;
        CAPTURE(to_string(scheme));
        CAPTURE(columns);
        CAPTURE(group);
        CHECK(differences(spec, values, quantised(spec, values, columns)) == 0);
      }
    }
  }
}

TEST_CASE("dequantise: every code times scales of every format, (q - z) s, one rounding") {
  std::vector<double> const e4m3 = oracle::e4m3_values();
  std::vector<double> const e2m1 = oracle::e2m1_values();
  float const nan = bits_to_float(0x7fffffffu);
  auto const value_of = [&](CodeFormat format, unsigned code) -> double {
    if (format == CodeFormat::int8) return static_cast<std::int8_t>(code);
    if (format == CodeFormat::uint8 || format == CodeFormat::uint4) return code;
    unsigned const sign = format == CodeFormat::e4m3 ? 0x80u : 8u;
    double const size = format == CodeFormat::e4m3 ? e4m3[code & 0x7fu] : e2m1[code & 7u];
    return (code & sign) != 0 ? -size : size;
  };
  for (CodeFormat const format :
       {CodeFormat::e4m3, CodeFormat::int8, CodeFormat::uint8, CodeFormat::e2m1, CodeFormat::uint4})
    for (ScaleFormat const scales : {ScaleFormat::f32, ScaleFormat::e8m0, ScaleFormat::e4m3})
      for (int const zero_point : {-1, 0, 7}) {
        bool const halves = format == CodeFormat::e2m1 || format == CodeFormat::uint4;
        bool const unsigned_codes = format == CodeFormat::uint8 || format == CodeFormat::uint4;
        if (zero_point >= 0 && !unsigned_codes) continue;
        unsigned const count = halves ? 16 : 256;
        QuantizedMatrix m;
        m.layout = QuantLayout{format, scales, 1, 0, zero_point >= 0, false};
        m.rows = 1;
        m.columns = count;
        for (unsigned code = 0; code < count; code += halves ? 2 : 1)
          m.codes.push_back(static_cast<std::byte>(halves ? code | ((code + 1) << 4) : code));
        float scale = 0.0371f;
        if (scales == ScaleFormat::f32) {
          m.scales.resize(4);
          std::memcpy(m.scales.data(), &scale, 4);
        } else {
          m.scales = {std::byte{0x3a}};
          scale = scales == ScaleFormat::e8m0 ? oracle::power(0x3a) : static_cast<float>(e4m3[0x3a]);
        }
        if (zero_point >= 0) m.zero_points = {static_cast<std::byte>(zero_point)};
        std::vector<float> out(count);
        cpu::dequantize(m.view(), out);
        for (unsigned code = 0; code < count; ++code) {
          bool const is_nan = format == CodeFormat::e4m3 && (code & 0x7fu) == 0x7fu;
          float const shifted =
              is_nan ? nan : static_cast<float>(value_of(format, code) - (zero_point > 0 ? zero_point : 0));
          float const want = is_nan ? nan : shifted * scale;
          REQUIRE(hd::bits_to<std::uint32_t>(out[code]) == hd::bits_to<std::uint32_t>(want));
        }
      }
}

TEST_CASE("block scales: 128 x 128 of a weight, cut off at the edges; parts of a row") {
  QuantizedMatrix m;
  m.layout = QuantLayout{CodeFormat::int8, ScaleFormat::f32, 2, 3, false, false};
  m.rows = 3;
  m.columns = 7;
  m.codes.assign(21, std::byte{1});
  std::vector<float> const scales = {1, 2, 3, 4, 5, 6};
  m.scales.resize(24);
  std::memcpy(m.scales.data(), scales.data(), 24);
  std::vector<float> out(21);
  cpu::dequantize(m.view(), out);
  std::vector<float> const rows01 = {1, 1, 1, 2, 2, 2, 3};
  std::vector<float> const row2 = {4, 4, 4, 5, 5, 5, 6};
  for (std::size_t c = 0; c < 7; ++c) {
    CHECK(out[c] == rows01[c]);
    CHECK(out[7 + c] == rows01[c]);
    CHECK(out[14 + c] == row2[c]);
  }
  std::vector<float> part(3);
  dequantize_row(m.view(), 2, 2, part);
  CHECK(part == std::vector<float>{4, 5, 5});
}

TEST_CASE("layouts and refusals") {
  auto const sizes = quant_sizes(QuantLayout{CodeFormat::uint4, ScaleFormat::e4m3, 128, 16, true, false}, 129, 33);
  CHECK(sizes.code_row_bytes == 17);
  CHECK(sizes.scale_bytes == 2 * 3);
  CHECK(sizes.zero_point_bytes == 6);
  for (QuantScheme const scheme : switchyard::kAllQuantSchemes) {
    CHECK(switchyard::parse_quant_scheme(to_string(scheme)) == scheme);
    CHECK(quantised(spec_of(scheme), std::vector<float>{}, 5).codes.empty());
  }
  QuantSpec bad = spec_of(QuantScheme::fp8_tensor);
  bad.given_scale = 0;
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { bad.validate(); }),
                 "given_scale of quantisation fp8_tensor is 0"));
  QuantizedMatrix other = QuantizedMatrix::make(spec_of(QuantScheme::nvfp4), 1, 4);
  std::vector<float> const x(4);
  auto const view = ConstTensorView::matrix(std::span<float const>(x), 1, 4);
  CHECK(
      contains(error_text(ErrorCode::shape_mismatch, [&] { cpu::quantize(spec_of(QuantScheme::mxfp8), view, other); }),
               "its codes are e2m1"));
  QuantizedView cut = other.view();
  cut.codes = cut.codes.first(1);
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [&] { cut.validate(); }),
                 "codes of a quantised matrix hold 1 bytes, wanted 2"));
  CHECK(
      contains(error_text(ErrorCode::invalid_argument,
                          [&] {
                            (void)quant_sizes(QuantLayout{CodeFormat::int8, ScaleFormat::f32, 1, 0, true, false}, 1, 1);
                          }),
               "take no zero points"));
}

}  // namespace
