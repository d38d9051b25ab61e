// SPDX-License-Identifier: Apache-2.0
// Quantisers on the GPU against the CPU's, byte for byte: codes, scales, and the values they stand for.
#include <cmath>
#include <random>
#include <string>

#include "cuda_experts_checks.hpp"
#include "graph_replay.hpp"
#include "quantize_probe.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cpu = switchyard::cpu;
namespace cuda = switchyard::cuda;
using switchyard::ConstTensorView;
using switchyard::DType;
using switchyard::QuantizedMatrix;
using switchyard::QuantScheme;
using switchyard::QuantSpec;

constexpr std::uint8_t kPoison = 0xa5;

void check_shortcut(BitReport& report, cuda::StreamView stream, std::string const& name, CodeShortcut shortcut,
                    float divisor) {
  auto const result = cuda::upload(std::vector<std::uint64_t>{0, ~std::uint64_t{0}}, stream);
  launch_shortcut(shortcut, divisor, result.as<ShortcutResult>(), stream);
  auto const found = cuda::download<std::uint64_t>(result, stream);
  report.state(found[0] == 0,
               name + ": all floats, " + std::to_string(found[0]) + " differ, the first " + std::to_string(found[1]));
}

void check_shortcuts(BitReport& report, cuda::StreamView stream, bool few) {
  check_shortcut(report, stream, "e4m3 by conversion", CodeShortcut::e4m3, 1.0f);
  check_shortcut(report, stream, "int8 rounded by addition", CodeShortcut::int8_round, 1.0f);
  check_shortcut(report, stream, "int8 cut by addition", CodeShortcut::int8_truncate, 1.0f);
  check_shortcut(report, stream, "e2m1 as the least of three roundings", CodeShortcut::e2m1, 1.0f);
  check_shortcut(report, stream, "f16 widened by conversion", CodeShortcut::f16_values, 1.0f);
  std::mt19937_64 random(5);
  std::vector<float> divisors = {1.0f, 0x1p-90f, 0x1p+100f, 0x1.fffffep+0f, 0x1.000002p-40f, 1e-10f / 448.0f, 1e-30f};
  std::uniform_real_distribution<float> mantissa(1.0f, 2.0f);
  for (int i = 0; i < (few ? 2 : 40); ++i)
    divisors.push_back(std::ldexp(mantissa(random), static_cast<int>(random() % 150) - 88));
  for (float const divisor : divisors) {
    check_shortcut(report, stream, "e4m3 of quotients by " + std::to_string(divisor), CodeShortcut::divided_e4m3,
                   divisor);
    check_shortcut(report, stream, "int8 of quotients by " + std::to_string(divisor), CodeShortcut::divided_int8,
                   divisor);
  }
}

/// Rows: ordinary values, all kinds of floats, zeros, and one huge row.
std::vector<float> values_of(std::int64_t rows, std::int64_t columns, bool with_nan) {
  std::vector<float> values;
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t c = 0; c < columns; ++c) {
      auto const i = static_cast<std::uint64_t>(row * columns + c);
      float value = wide_float(95, i);
      if (row % 4 == 1 && with_nan) value = any_float(96, i);
      if (row % 8 == 2) value = c % 3 == 0 ? -0.0f : 0.0f;
      if (row % 8 == 3) value = static_cast<float>(static_cast<int>(random_word(97, i) % 2001) - 1000) / 256.0f;
      values.push_back(value);
    }
  return values;
}

template <typename T>
std::vector<T> narrowed(std::vector<float> const& values) {
  std::vector<T> out;
  for (float const value : values) out.push_back(as_row_element<T>(value));
  return out;
}

struct QuantizeCase {
  QuantSpec spec;
  std::int64_t rows;
  std::int64_t columns;
  bool with_nan;
};

std::string name_of(QuantizeCase const& c, DType dtype) {
  return std::string(to_string(c.spec.scheme)) + " of " + std::string(to_string(dtype)) + " " + std::to_string(c.rows) +
         " x " + std::to_string(c.columns) + ", groups of " + std::to_string(c.spec.group_columns) +
         (c.with_nan ? ", all kinds of floats" : "");
}

void poison(cuda::DeviceQuantizedMatrix const& matrix, cuda::StreamView stream) {
  cuda::fill_bytes(matrix.codes, kPoison, stream);
  cuda::fill_bytes(matrix.scales, kPoison, stream);
}

void compare_values(BitReport& report, std::string const& name, QuantizedMatrix const& expected,
                    cuda::DeviceQuantizedMatrix const& matrix, cuda::StreamView stream) {
  std::vector<float> values(static_cast<std::size_t>(expected.rows * expected.columns));
  cpu::dequantize(expected.view(), values);
  cuda::DeviceBuffer const out(expected.rows * expected.columns * 4);
  cuda::fill_bytes(out, kPoison, stream);
  cuda::launch_dequantize(matrix.view(), out.as<float>(), stream);
  report.compare(name + ", values", values, cuda::download<float>(out, stream));
}

template <typename T>
void check_case(BitReport& report, cuda::StreamView stream, QuantizeCase const& c) {
  DType const dtype = switchyard::dtype_of<T>::value;
  std::string const name = name_of(c, dtype);
  std::vector<T> const host = narrowed<T>(values_of(c.rows, c.columns, c.with_nan));
  QuantizedMatrix const expected = cpu::quantize(c.spec, ConstTensorView(host.data(), dtype, {c.rows, c.columns}));
  auto const values = cuda::upload(host, stream);
  auto matrix = cuda::DeviceQuantizedMatrix::make(c.spec, c.rows, c.columns);
  bool const captured = replay(stream, 2, [&] {
    poison(matrix, stream);
    cuda::quantize(c.spec, values.view(dtype, {c.rows, c.columns}), matrix, stream);
  });
  QuantizedMatrix const got = matrix.to_host(stream);
  report.state(captured, name + ": captured in global mode and replayed");
  report.compare(name + ", codes", expected.codes, got.codes);
  report.compare(name + ", scales", expected.scales, got.scales);
  compare_values(report, name, expected, matrix, stream);
}

QuantSpec spec_of(QuantScheme scheme, std::int64_t group) {
  QuantSpec spec;
  spec.scheme = scheme;
  spec.group_columns = group;
  spec.given_scale = 0.037f;
  spec.upper_bound = 1200.0f;
  spec.tensor_scale = 3.25f;
  return spec;
}

void check_scheme(BitReport& report, cuda::StreamView stream, QuantScheme scheme, bool few) {
  struct Shape {
    std::int64_t rows, columns, group;
  };
  std::vector<Shape> shapes = {{9, 256, 128}, {9, 160, 64}, {9, 37, 16}, {5, 1000, 128}};
  if (!few)
    shapes.insert(shapes.end(), {{33, 7168, 128}, {7, 512, 512}, {3, 40000, 32}, {8, 48, 7}, {1, 1, 128}, {0, 64, 32}});
  for (Shape const& shape : shapes)
    for (bool const with_nan : {false, true}) {
      QuantizeCase const c{spec_of(scheme, shape.group), shape.rows, shape.columns, with_nan};
      check_case<float>(report, stream, c);
      check_case<switchyard::bf16_t>(report, stream, c);
      check_case<switchyard::f16_t>(report, stream, c);
    }
}

}  // namespace

void check_quantizers(BitReport& report, cuda::StreamView stream, bool few) {
  check_shortcuts(report, stream, few);
  for (QuantScheme const scheme : switchyard::kAllQuantSchemes) check_scheme(report, stream, scheme, few);
}

}  // namespace cross_backend
