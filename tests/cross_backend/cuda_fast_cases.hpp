// SPDX-License-Identifier: Apache-2.0
/// FastCall: one call's operands for the fast and the exact engine, and data on which both give the same bytes.
#pragma once

#include <cmath>
#include <exception>
#include <limits>
#include <string>
#include <vector>

#include "bit_report.hpp"
#include "cuda_engine_cases.hpp"
#include "switchyard/experts/expert_gradient.hpp"

namespace cross_backend {

/// The groups of checks of the program switchyard_cuda_fast_test. @param few few of each, for slow tools
void check_fast_gradients(BitReport& report, cuda::StreamView stream, bool few);
void check_fast_codes(BitReport& report, cuda::StreamView stream, bool few);
void check_fast_blocks(BitReport& report, cuda::StreamView stream, bool few);

inline std::vector<DType> row_dtypes(bool few) {
  return few ? std::vector{DType::bf16} : std::vector{DType::bf16, DType::f16, DType::f32};
}

using Bytes = std::vector<std::byte>;

/// Runs a check; what it throws is a failure.
template <typename Check>
void attempt(BitReport& report, std::string const& name, Check const& check) {
  try {
    check();
  } catch (std::exception const& error) {
    report.state(false, name + ": " + error.what());
  }
}

/// Two pairs of experts that one batch each can take, and rows between them that belong to nobody.
inline std::vector<RowBlock> const kEven = {{0, 8}, {8, 8}, {20, 8}, {32, 8}};

inline ExpertMlp squared(std::int64_t hidden, std::int64_t intermediate, int experts, DType dtype,
                         switchyard::GateLayout layout = switchyard::GateLayout::plain) {
  ExpertMlp mlp = mlp_of(hidden, intermediate, experts, dtype);
  mlp.activation.kind = switchyard::Activation::relu2;
  mlp.activation.layout = layout;
  return mlp;
}

/// -1 and 1, each `chance` of 100 times, else 0.
inline Matrix small_integers(std::mt19937_64& random, DType dtype, std::int64_t rows, std::int64_t columns,
                             int chance = 33) {
  std::uniform_int_distribution<int> pick(0, 99);
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (float& value : values) {
    int const drawn = pick(random);
    value = drawn < chance ? 1.0F : drawn < 2 * chance ? -1.0F : 0.0F;
  }
  return support::matrix_of(dtype, columns, std::move(values));
}

/// Which biases a call has.
enum class Biases { none, of_rows, of_f32 };
inline char const* name_of(Biases biases) {
  return biases == Biases::none ? "" : biases == Biases::of_rows ? ", biases" : ", biases of f32";
}

/// Integers for this MLP, or this TP rank's part of them. @param chance of each sign in biases, of 100
inline ExpertOperands integer_operands(std::mt19937_64& random, ExpertMlp const& mlp, Biases biases, int chance = 33) {
  DType const bias = biases == Biases::of_rows ? mlp.dtype : DType::f32;
  std::int64_t const experts = mlp.num_local_experts;
  std::int64_t const outputs = mlp.first_layer_outputs();
  ExpertOperands operands{small_integers(random, mlp.dtype, experts * outputs, mlp.hidden),
                          small_integers(random, mlp.dtype, experts * mlp.hidden, mlp.local_units()),
                          {},
                          {}};
  if (biases == Biases::none) return operands;
  operands.b1 = small_integers(random, bias, experts, outputs, chance);
  operands.b2 = small_integers(random, bias, experts, mlp.hidden, chance);
  return operands;
}

/// Operands on the host; every run uploads them and starts from poison.
struct FastCall {
  ExpertOperands host;
  Matrix rows;
  std::vector<float> row_weights{};
  bool biased = false;

  [[nodiscard]] Bytes run(switchyard::Experts const& engine, std::vector<RowBlock> const& blocks,
                          cuda::StreamView stream) const {
    DeviceOperands const operands(host, stream);
    DeviceMatrix const input(rows, stream);
    DeviceMatrix const output(output_dtype(engine.mlp()), rows.rows(), rows.columns, stream);
    auto const weights = cuda::upload(row_weights, stream);
    switchyard::ExpertCall call;
    call.rows = input.view();
    call.blocks = blocks;
    call.weights = operands.weights(biased);
    call.row_weights = {weights.as<float const>(), row_weights.size()};
    call.output = output.view();
    engine.apply(call, {});
    return cuda::download<std::byte>(output.buffer, stream);
  }
};

/// Sums of one expert in double precision, with how far an engine that adds in any order may be off.
struct Within {
  double value = 0;
  double error = 0;
};

inline double unit_roundoff(DType dtype) {
  if (dtype == DType::f32) return std::ldexp(1.0, -24);
  return std::ldexp(1.0, dtype == DType::bf16 ? -8 : -11);
}

/// A value within `error` after one rounding to the dtype.
inline Within rounded_within(double value, double error, DType dtype) {
  double const smallest = dtype == DType::f16 ? std::ldexp(1.0, -25) : 0.0;  // f16 results may be subnormal
  return {value, error + unit_roundoff(dtype) * (std::abs(value) + error) + smallest};
}

/// A sum of `terms` fp32 products in any order; see fast_experts.hpp.
inline double sum_bound(std::size_t terms) {
  double const grown = static_cast<double>(terms) * std::ldexp(1.0, -23);
  return grown / (1.0 - grown);
}

/// Sum over k of a(k) * b(k), both within bounds, rounded once to the dtype.
template <typename A, typename B>
Within product_within(std::size_t terms, A const& a, B const& b, DType dtype) {
  double value = 0;
  double carried = 0;
  double magnitude = 0;
  for (std::size_t k = 0; k < terms; ++k) {
    Within const x = a(k);
    Within const y = b(k);
    value += x.value * y.value;
    carried += std::abs(x.value) * y.error + std::abs(y.value) * x.error + x.error * y.error;
    magnitude += (std::abs(x.value) + x.error) * (std::abs(y.value) + y.error);
  }
  return rounded_within(value, carried + sum_bound(terms) * magnitude, dtype);
}

/// max(h, 0)^2, one rounding to fp32 and one to the dtype.
inline Within squared_within(Within const& hidden, DType dtype) {
  double const value = hidden.value > 0 ? hidden.value * hidden.value : 0.0;
  double const reach = std::abs(hidden.value) + hidden.error;
  double const smallest = dtype == DType::f16 ? std::ldexp(1.0, -25) : 0.0;
  return {value, (2 * std::abs(hidden.value) + hidden.error) * hidden.error + 2 * unit_roundoff(dtype) * reach * reach +
                     smallest};
}

/// A matrix's element as an exact factor.
inline Within element(Matrix const& matrix, std::size_t row, std::size_t column) {
  return {static_cast<double>(matrix.values[row * static_cast<std::size_t>(matrix.columns) + column]), 0.0};
}

/// |got - expected| over its bound; infinite where the bound is 0 and they differ.
inline double error_ratio(double got, Within const& expected) {
  double const off = std::abs(got - expected.value);
  if (off == 0) return 0;
  double const ratio = off / expected.error;
  return std::isfinite(ratio) ? ratio : std::numeric_limits<double>::infinity();
}

/// Hidden values and activations of all rows of all experts by `squared` MLPs.
struct ForwardWithin {
  std::vector<std::vector<Within>> hidden;      ///< [rows][units]
  std::vector<std::vector<Within>> activation;  ///< [rows][units]

  ForwardWithin(FastCall const& call, ExpertMlp const& mlp, std::vector<RowBlock> const& blocks)
      : hidden(static_cast<std::size_t>(call.rows.rows())), activation(hidden.size()) {
    auto const units = static_cast<std::size_t>(mlp.intermediate);
    for_rows(blocks, [&](std::size_t expert, std::size_t row) {
      for (std::size_t unit = 0; unit < units; ++unit) {
        Within const h = product_within(
            static_cast<std::size_t>(mlp.hidden), [&](std::size_t k) { return element(call.rows, row, k); },
            [&](std::size_t k) { return element(call.host.w1, expert * units + unit, k); }, mlp.dtype);
        hidden[row].push_back(h);
        activation[row].push_back(squared_within(h, mlp.dtype));
      }
    });
  }
  template <typename Body>
  static void for_rows(std::vector<RowBlock> const& blocks, Body const& body) {
    for (std::size_t expert = 0; expert < blocks.size(); ++expert)
      for (std::int64_t i = 0; i < blocks[expert].rows; ++i)
        body(expert, static_cast<std::size_t>(blocks[expert].first_row + i));
  }
};

}  // namespace cross_backend
