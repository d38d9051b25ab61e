// SPDX-License-Identifier: Apache-2.0
// Weight-only integer codes against plain formulas.
//
// By hand, 4 bits, one group (7, -4, 0.5, 1.5): symmetric s = max(7/7, 4/8) = 1, z = 8: 7 -> 15, -4 -> 4, 0.5 -> 8 and
// 1.5 -> 10 (ties to even). Ranged: s = 11/15, z = nearest(4 / s = 5.45) = 5: 7 -> nearest(9.55) + 5 = 15, -4 -> 0,
// 0.5 -> nearest(0.68) + 5 = 6, 1.5 -> nearest(2.05) + 5 = 7.
#include <doctest/doctest.h>

#include <cstring>
#include <limits>
#include <random>

#include "oracle/weight_quant_oracle.hpp"
#include "support/error_text.hpp"
#include "support/float_sweep.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/hd/quantize_weights.hpp"

namespace {

namespace cpu = switchyard::cpu;
namespace hd = switchyard::hd;
using support::contains;
using support::error_text;
using switchyard::CodeFormat;
using switchyard::ConstTensorView;
using switchyard::ErrorCode;
using switchyard::QuantizedMatrix;
using switchyard::WeightQuantSpec;

template <typename T>
QuantizedMatrix quantised(WeightQuantSpec const& spec, std::vector<T> const& values, std::int64_t columns) {
  auto const rows = columns == 0 ? 0 : static_cast<std::int64_t>(values.size()) / columns;
  return cpu::quantize_weights(spec, ConstTensorView::matrix(std::span<T const>(values), rows, columns));
}

/// The code in [0, 2^bits), whatever the format.
int code_at(QuantizedMatrix const& matrix, std::size_t row, std::size_t column) {
  auto const columns = static_cast<std::size_t>(matrix.columns);
  if (matrix.layout.code == CodeFormat::uint4)
    return static_cast<int>(static_cast<unsigned>(matrix.codes[row * ((columns + 1) / 2) + column / 2]) >>
                            (column % 2 * 4)) &
           15;
  auto const byte = matrix.codes[row * columns + column];
  return matrix.layout.code == CodeFormat::uint8 ? static_cast<int>(byte) : static_cast<std::int8_t>(byte) + 128;
}

int zero_point_at(QuantizedMatrix const& matrix, std::size_t group) {
  return matrix.zero_points.empty() ? 128 : static_cast<int>(matrix.zero_points[group]);
}

int differences(WeightQuantSpec const& spec, std::vector<float> const& values, QuantizedMatrix const& got) {
  auto const columns = static_cast<std::size_t>(got.columns);
  std::size_t const width = spec.group_columns == 0 ? columns : static_cast<std::size_t>(spec.group_columns);
  int wrong = 0;
  std::size_t group = 0;
  for (std::size_t row = 0; row < static_cast<std::size_t>(got.rows); ++row)
    for (std::size_t first = 0; first < columns; first += width, ++group) {
      auto const begin = values.begin() + static_cast<std::ptrdiff_t>(row * columns + first);
      std::vector<float> const x(begin, begin + static_cast<std::ptrdiff_t>(std::min(width, columns - first)));
      auto const want = oracle::quantise_weights(x, spec.bits, spec.symmetric);
      wrong += std::memcmp(&got.scales[4 * group], &want.scale, 4) != 0;
      wrong += zero_point_at(got, group) != want.zero_point;
      for (std::size_t i = 0; i < x.size(); ++i) wrong += code_at(got, row, first + i) != want.codes[i];
    }
  return wrong;
}

std::vector<WeightQuantSpec> all_specs(std::int64_t group) {
  return {{4, true, group}, {4, false, group}, {8, true, group}, {8, false, group}};
}

TEST_CASE("the example by hand, and back") {
  std::vector<float> const x = {7, -4, 0.5f, 1.5f};
  auto const symmetric = quantised({4, true, 0}, x, 4);
  CHECK(symmetric.codes == std::vector<std::byte>{std::byte{0x4f}, std::byte{0xa8}});
  CHECK(symmetric.zero_points == std::vector<std::byte>{std::byte{8}});
  std::vector<float> back(4);
  cpu::dequantize(symmetric.view(), back);
  CHECK(back == std::vector<float>{7, -4, 0, 2});
  auto const ranged = quantised({4, false, 0}, x, 4);
  CHECK(ranged.codes == std::vector<std::byte>{std::byte{0x0f}, std::byte{0x76}});
  CHECK(ranged.zero_points == std::vector<std::byte>{std::byte{5}});
  CHECK(quantised({8, true, 0}, std::vector<float>{127, -128, 1, 0}, 4).codes ==
        std::vector<std::byte>{std::byte{127}, std::byte{0x80}, std::byte{1}, std::byte{0}});
}

TEST_CASE("a group on one side of zero keeps zero in its range") {
  std::vector<float> const x = {30, 15, 29, 0};
  std::vector<float> back(4);
  cpu::dequantize(quantised({4, false, 0}, x, 4).view(), back);
  CHECK(back == std::vector<float>{30, 16, 28, 0});  // s = 2; 7.5 and 14.5 go to the even code
}

TEST_CASE("codes over the floats at several scales: all 2^32 with SWITCHYARD_EXHAUSTIVE=1") {
  for (auto const& [bits, scale, zero_point] :
       {std::tuple{4, 0.37f, 8}, {4, 1.0f, 0}, {8, 0x1p-140f, 128}, {8, 3e36f, 255}}) {
    CAPTURE(bits);
    CAPTURE(scale);
    hd::WeightScale const group{scale, zero_point};
    auto const boundary = hd::bits_to<std::uint32_t>(scale);
    auto const result = support::sweep_floats({0, boundary, 0x7f800000u}, [&, width = bits](std::uint32_t pattern) {
      float const x = hd::bits_to<float>(pattern);
      return hd::encode_weight(x, group, width) == oracle::weight_code(x, group.scale, group.zero_point, width);
    });
    MESSAGE("floats tried: " << result.tried);
    CHECK_MESSAGE(result.mismatches == 0, "first " << result.first_mismatch);
  }
}

TEST_CASE("every bf16 value in mixed company, every form, 1 and 7 workers") {
  std::vector<std::uint16_t> patterns(0x10000);
  for (std::size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<std::uint16_t>(i);
  std::mt19937 random(5);
  for (int const workers : {1, 7}) {
    if (workers == 7) std::shuffle(patterns.begin(), patterns.end(), random);
    cpu::set_worker_count(workers);
    std::vector<switchyard::bf16_t> values;
    std::vector<float> widened;
    for (std::uint16_t const bits : patterns) {
      values.push_back({bits});
      widened.push_back(to_float(values.back()));
    }
    for (std::int64_t const group : {0, 1, 31, 128})
      for (WeightQuantSpec const& spec : all_specs(group)) {
        CAPTURE(spec.bits);
        CAPTURE(spec.symmetric);
        CAPTURE(group);
        CHECK(differences(spec, widened, quantised(spec, values, 256)) == 0);
      }
  }
  cpu::set_worker_count(0);
}

TEST_CASE("ragged groups, odd columns, zeros, NaN, infinity, subnormals; the stated rules read back") {
  float const inf = std::numeric_limits<float>::infinity();
  float const nan = std::numeric_limits<float>::quiet_NaN();
  std::mt19937 random(17);
  for (std::int64_t const columns : {1, 7, 33, 129}) {
    std::vector<float> values;
    for (int row = 0; row < 9; ++row) {
      std::normal_distribution<float> normal(row == 2 ? 9.0f : 0.0f, std::ldexp(1.0f, 8 * row - 40));
      for (std::int64_t c = 0; c < columns; ++c) values.push_back(row == 0 ? -0.0f : normal(random));
    }
    for (float const special : {nan, inf, -inf, 0x1p-149f, 3.4e38f, -3.4e38f}) {
      for (std::int64_t c = 0; c < columns; ++c) values.push_back(c == columns / 2 ? special : 1.0f);
    }
    for (std::int64_t const group : {0, 5, 128})
      for (WeightQuantSpec const& spec : all_specs(group)) {
        CAPTURE(columns);
        CAPTURE(group);
        CHECK(differences(spec, values, quantised(spec, values, columns)) == 0);
      }
  }
  for (WeightQuantSpec const& spec : all_specs(0)) {
    std::vector<float> back(2);
    cpu::dequantize(quantised(spec, std::vector<float>{nan, 1}, 2).view(), back);
    CHECK(back[0] == 0.0f);
    CHECK(back[1] == doctest::Approx(1.0));
    cpu::dequantize(quantised(spec, std::vector<float>{inf, 1}, 2).view(), back);
    CHECK(std::isnan(back[0]));
    CHECK(std::isnan(back[1]));
  }
}

TEST_CASE("layouts, nothing to do, refusals") {
  CHECK(WeightQuantSpec{4, true, 128}.layout().code == CodeFormat::uint4);
  CHECK(WeightQuantSpec{8, true, 128}.layout().code == CodeFormat::int8);
  CHECK(WeightQuantSpec{8, false, 128}.layout().code == CodeFormat::uint8);
  CHECK_FALSE(WeightQuantSpec{8, true, 128}.layout().zero_points);
  CHECK(quantised({}, std::vector<float>{}, 5).codes.empty());
  std::vector<float> const x = {1};
  CHECK(contains(error_text(ErrorCode::invalid_argument,
                            [&] {
                              (void)quantised({3, true, 1}, x, 1);
                            }),
                 "3 bits: 4 or 8"));
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { (void)quantised({4, true, -1}, x, 1); }), "-1 columns"));
  std::vector<std::int32_t> const integers = {1};
  CHECK(contains(error_text(ErrorCode::unsupported, [&] { (void)quantised({}, integers, 1); }), "i32"));
}

}  // namespace
