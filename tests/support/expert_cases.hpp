// SPDX-License-Identifier: Apache-2.0
/// Operands of expert calls: random weights and rows of any row dtype, their TP slices, and the oracle's answer.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "oracle/expert_oracle.hpp"
#include "switchyard/experts/experts.hpp"
#include "switchyard/experts/workspace.hpp"
#include "switchyard/hd/activation.hpp"
#include "switchyard/hd/convert.hpp"

namespace support {

using switchyard::Activation;
using switchyard::ConstTensorView;
using switchyard::DType;
using switchyard::ExpertMlp;
using switchyard::GateLayout;
using switchyard::TensorView;

/// A matrix kept as floats that are exact in `dtype`, and its bytes.
struct Matrix {
  DType dtype = DType::f32;
  std::int64_t columns = 1;
  std::vector<float> values{};
  std::vector<std::byte> bytes{};

  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(values.size()) / columns; }
  [[nodiscard]] ConstTensorView view() const { return {bytes.data(), dtype, {rows(), columns}}; }
  [[nodiscard]] TensorView mutable_view() { return {bytes.data(), dtype, {rows(), columns}}; }
};

template <typename T>
void store(float value, std::byte* to) {
  T const narrow = switchyard::hd::narrow<T>(value);
  std::memcpy(to, &narrow, sizeof narrow);
}
template <typename T>
float fetch(std::byte const* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return switchyard::hd::widen(value);
}
inline float fetch(DType dtype, std::byte const* from) {
  if (dtype == DType::f32) return fetch<float>(from);
  return dtype == DType::bf16 ? fetch<switchyard::bf16_t>(from) : fetch<switchyard::f16_t>(from);
}

/// Rounds the values to the dtype and lays out the bytes.
inline Matrix matrix_of(DType dtype, std::int64_t columns, std::vector<float> values) {
  Matrix matrix{dtype, columns, std::move(values), {}};
  auto const size = static_cast<std::size_t>(switchyard::size_of(dtype));
  matrix.bytes.resize(matrix.values.size() * size);
  for (std::size_t i = 0; i < matrix.values.size(); ++i) {
    std::byte* const to = matrix.bytes.data() + i * size;
    if (dtype == DType::f32) store<float>(matrix.values[i], to);
    if (dtype == DType::bf16) store<switchyard::bf16_t>(matrix.values[i], to);
    if (dtype == DType::f16) store<switchyard::f16_t>(matrix.values[i], to);
    matrix.values[i] = fetch(dtype, to);
  }
  return matrix;
}

/// Normal values of a spread of magnitudes, so that sums round.
inline Matrix random_matrix(std::mt19937_64& random, DType dtype, std::int64_t rows, std::int64_t columns,
                            float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (float& value : values) value = normal(random);
  return matrix_of(dtype, columns, std::move(values));
}

/// All of an expert layer's weights, TP size 1.
struct ExpertOperands {
  Matrix w1, w2, b1, b2;
};

inline ExpertOperands random_weights(std::mt19937_64& random, ExpertMlp const& mlp) {
  std::int64_t const experts = mlp.num_local_experts;
  std::int64_t const outputs = mlp.intermediate * mlp.activation.inputs_per_unit();
  return {random_matrix(random, mlp.dtype, experts * outputs, mlp.hidden, 0.5f),
          random_matrix(random, mlp.dtype, experts * mlp.hidden, mlp.intermediate, 0.5f),
          random_matrix(random, DType::f32, experts, outputs), random_matrix(random, mlp.dtype, experts, mlp.hidden)};
}

/// The part of `whole` (TP size 1) that belongs to `slice`.
inline ExpertOperands tp_slice(ExpertOperands const& whole, ExpertMlp const& mlp, ExpertMlp const& slice) {
  ExpertOperands part;
  std::vector<float> w1, w2, b1;
  std::int64_t const outputs = mlp.first_layer_outputs();
  auto const take = [&](std::int64_t expert, std::int64_t row) {
    auto const from = whole.w1.values.begin() + (expert * outputs + row) * mlp.hidden;
    w1.insert(w1.end(), from, from + mlp.hidden);
    b1.push_back(whole.b1.values[static_cast<std::size_t>(expert * outputs + row)]);
  };
  bool const gated = mlp.activation.layout != GateLayout::plain;
  for (std::int64_t expert = 0; expert < mlp.num_local_experts; ++expert) {
    std::int64_t const first = slice.first_unit();
    std::int64_t const end = first + slice.local_units();
    bool const pairs = mlp.activation.layout == GateLayout::interleaved;
    for (std::int64_t unit = first; unit < end; ++unit) {
      take(expert, mlp.gate_row(unit));
      if (pairs) take(expert, mlp.up_row(unit));
    }
    for (std::int64_t unit = first; gated && !pairs && unit < end; ++unit) take(expert, mlp.up_row(unit));
    for (std::int64_t c = 0; c < mlp.hidden; ++c) {
      auto const row = whole.w2.values.begin() + (expert * mlp.hidden + c) * mlp.intermediate;
      w2.insert(w2.end(), row + first, row + end);
    }
  }
  auto const columns = [](std::int64_t n) { return n > 0 ? n : 1; };
  return {matrix_of(mlp.dtype, mlp.hidden, w1), matrix_of(mlp.dtype, columns(slice.local_units()), w2),
          matrix_of(DType::f32, columns(slice.first_layer_outputs()), b1), whole.b2};
}

inline oracle::Rounding rounding_of(DType dtype) {
  if (dtype == DType::f32) return oracle::round_f32;
  return dtype == DType::bf16 ? oracle::round_bf16 : oracle::round_f16;
}

template <Activation kKind>
void set_activation(oracle::ExpertOracle& o, float limit) {
  o.activate = [limit](float x) { return switchyard::hd::activate<kKind>(x, limit); };
  o.up_term = [limit](float u) { return switchyard::hd::up_term<kKind>(u, limit); };
  o.activation_slope = [limit](float x) { return switchyard::hd::activation_slope<kKind>(x, limit); };
  o.up_slope = [limit](float u) { return switchyard::hd::up_slope<kKind>(u, limit); };
}

inline oracle::ExpertOracle oracle_of(ExpertMlp const& mlp) {
  oracle::ExpertOracle o;
  o.hidden = static_cast<std::size_t>(mlp.hidden);
  o.units = static_cast<std::size_t>(mlp.intermediate);
  o.gated = mlp.activation.layout != GateLayout::plain;
  o.interleaved = mlp.activation.layout == GateLayout::interleaved;
  o.round_hidden = rounding_of(mlp.rounding.hidden);
  o.round_gate = rounding_of(mlp.rounding.gate);
  o.round_activation = rounding_of(mlp.rounding.activation);
  o.round_output = rounding_of(mlp.dtype);
  float const limit = mlp.activation.limit;
  switch (mlp.activation.kind) {
    case Activation::silu: set_activation<Activation::silu>(o, limit); break;
    case Activation::gelu: set_activation<Activation::gelu>(o, limit); break;
    case Activation::gelu_tanh: set_activation<Activation::gelu_tanh>(o, limit); break;
    case Activation::gelu_quick: set_activation<Activation::gelu_quick>(o, limit); break;
    case Activation::relu2: set_activation<Activation::relu2>(o, limit); break;
    case Activation::swigluoai: set_activation<Activation::swigluoai>(o, limit); break;
    case Activation::swiglu_limit: set_activation<Activation::swiglu_limit>(o, limit); break;
  }
  return o;
}

inline oracle::Row row_of(Matrix const& matrix, std::int64_t first, std::int64_t rows = 1) {
  auto const begin = matrix.values.begin() + first * matrix.columns;
  return {begin, begin + rows * matrix.columns};
}

/// The oracle's output of one row through one expert.
inline oracle::Row oracle_row(ExpertMlp const& mlp, ExpertOperands const& w, bool biased, std::int64_t expert,
                              oracle::Row const& x) {
  std::int64_t const outputs = mlp.intermediate * mlp.activation.inputs_per_unit();
  return oracle::expert_forward(
      oracle_of(mlp), x, row_of(w.w1, expert * outputs, outputs), biased ? row_of(w.b1, expert) : oracle::Row{},
      row_of(w.w2, expert * mlp.hidden, mlp.hidden), biased ? row_of(w.b2, expert) : oracle::Row{});
}

/// Every byte 0xa5.
inline std::vector<std::byte> poison(std::size_t bytes) {
  return std::vector<std::byte>(bytes, std::byte{0xa5});
}

}  // namespace support
