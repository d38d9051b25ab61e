// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_fast_test: the fast expert engine against the exact one. Equal bytes where every partial sum is an
// exact integer, and within the bound of fast_experts.hpp on random data. Exit 0 when all holds, 1 otherwise, 77
// without a GPU.
//
// By hand, one row (1, -1), w1 = (1 0; 0 1), relu2, w2 = (1 1): hidden (1, -1), activation (1, 0), output 1.
#include <cmath>
#include <cstdio>
#include <limits>

#include "bit_report.hpp"
#include "cuda_engine_cases.hpp"
#include "gpu_program.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/fast_experts.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"
#include "switchyard/types/error.hpp"

namespace cross_backend {
namespace {

using switchyard::ErrorCode;

ExpertMlp squared(std::int64_t hidden, std::int64_t intermediate, int experts, DType dtype) {
  ExpertMlp mlp = mlp_of(hidden, intermediate, experts, dtype);
  mlp.activation.kind = switchyard::Activation::relu2;
  mlp.activation.layout = switchyard::GateLayout::plain;
  return mlp;
}

/// -1, 0 and 1: hidden values up to H, activations up to H^2 rounded to the dtype, sums below 2^24.
Matrix small_integers(std::mt19937_64& random, DType dtype, std::int64_t rows, std::int64_t columns) {
  std::uniform_int_distribution<int> pick(-1, 1);
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (float& value : values) value = static_cast<float>(pick(random));
  return support::matrix_of(dtype, columns, std::move(values));
}

/// One call's operands; the same call for every engine.
struct Call {
  ExpertOperands host;
  Matrix rows;
  std::vector<float> row_weights{};

  [[nodiscard]] std::vector<std::byte> run(switchyard::Experts const& engine, std::vector<RowBlock> const& blocks,
                                           cuda::StreamView stream) const {
    DeviceOperands const operands(host, stream);
    DeviceMatrix const input(rows, stream);
    DeviceMatrix const output(rows.dtype, rows.rows(), rows.columns, stream);
    auto const weights = cuda::upload(row_weights, stream);
    switchyard::ExpertCall call;
    call.rows = input.view();
    call.blocks = blocks;
    call.weights = operands.weights(false);
    call.row_weights = {weights.as<float const>(), row_weights.size()};
    call.output = output.view();
    engine.apply(call, {});
    return cuda::download<std::byte>(output.buffer, stream);
  }
};

void check_integers(BitReport& report, cuda::StreamView stream, DType dtype, std::vector<RowBlock> const& blocks,
                    std::int64_t total_rows, bool weighted) {
  std::mt19937_64 random(11);
  ExpertMlp const mlp = squared(64, 32, 4, dtype);
  Call call{{small_integers(random, dtype, 4 * 32, 64), small_integers(random, dtype, 4 * 64, 32), {}, {}},
            small_integers(random, dtype, total_rows, 64)};
  if (weighted) call.row_weights.assign(static_cast<std::size_t>(total_rows), 2.0F);
  cuda::FastExperts const fast(mlp, stream);
  cuda::LayerExperts const exact(mlp, stream);
  std::string const name = std::string("integers, ") + std::string(to_string(dtype)) + (weighted ? ", weighted" : "");
  auto const expected = call.run(exact, blocks, stream);
  report.compare(name, expected, call.run(fast, blocks, stream), "exact engine against fast engine");
  report.compare(name + ", again", expected, call.run(fast, blocks, stream));
}

double unit_roundoff(DType dtype) {
  if (dtype == DType::f32) return std::ldexp(1.0, -24);
  return std::ldexp(1.0, dtype == DType::bf16 ? -8 : -11);
}

/// A sum of `terms` fp32 products in any order; see fast_experts.hpp.
double sum_bound(std::int64_t terms) {
  double const grown = static_cast<double>(terms) * std::ldexp(1.0, -23);
  return grown / (1.0 - grown);
}

/// A value and how far a computed one may be off.
struct Within {
  double value = 0;
  double error = 0;
};

/// Sum of products of exact factors `a` and of values within bounds, then one rounding to the dtype.
Within product(float const* a, std::vector<Within> const& b, DType dtype) {
  double value = 0;
  double carried = 0;
  double magnitude = 0;
  for (std::size_t k = 0; k < b.size(); ++k) {
    double const factor = static_cast<double>(a[k]);
    value += factor * b[k].value;
    carried += std::abs(factor) * b[k].error;
    magnitude += std::abs(factor) * (std::abs(b[k].value) + b[k].error);
  }
  double const error = carried + sum_bound(static_cast<std::int64_t>(b.size())) * magnitude;
  double const smallest = dtype == DType::f16 ? std::ldexp(1.0, -25) : 0.0;  // f16 results may be subnormal
  return {value, error + unit_roundoff(dtype) * (std::abs(value) + error) + smallest};
}

Within squared_within(Within const& hidden, DType dtype) {
  double const value = hidden.value > 0 ? hidden.value * hidden.value : 0.0;
  double const reach = std::abs(hidden.value) + hidden.error;
  double const smallest = dtype == DType::f16 ? std::ldexp(1.0, -25) : 0.0;
  return {value, (2 * std::abs(hidden.value) + hidden.error) * hidden.error + 2 * unit_roundoff(dtype) * reach * reach +
                     smallest};
}

/// The outputs of one row by one expert, in double precision.
std::vector<Within> outputs_of(Call const& call, ExpertMlp const& mlp, std::size_t expert, std::size_t row) {
  auto const hidden = static_cast<std::size_t>(mlp.hidden);
  auto const units = static_cast<std::size_t>(mlp.intermediate);
  std::vector<Within> input;
  for (std::size_t k = 0; k < hidden; ++k)
    input.push_back({static_cast<double>(call.rows.values[row * hidden + k]), 0.0});
  std::vector<Within> activation;
  for (std::size_t unit = 0; unit < units; ++unit)
    activation.push_back(squared_within(
        product(call.host.w1.values.data() + (expert * units + unit) * hidden, input, mlp.dtype), mlp.dtype));
  std::vector<Within> outputs;
  for (std::size_t column = 0; column < hidden; ++column)
    outputs.push_back(product(call.host.w2.values.data() + (expert * hidden + column) * units, activation, mlp.dtype));
  return outputs;
}

/// Largest error over its bound.
double worst_ratio(Call const& call, ExpertMlp const& mlp, std::vector<RowBlock> const& blocks,
                   std::vector<std::byte> const& output) {
  auto const hidden = static_cast<std::size_t>(mlp.hidden);
  auto const size = static_cast<std::size_t>(size_of(mlp.dtype));
  double worst = 0;
  for (std::size_t expert = 0; expert < blocks.size(); ++expert) {
    for (std::int64_t i = 0; i < blocks[expert].rows; ++i) {
      auto const row = static_cast<std::size_t>(blocks[expert].first_row + i);
      auto const expected = outputs_of(call, mlp, expert, row);
      for (std::size_t column = 0; column < hidden; ++column) {
        auto const got = static_cast<double>(support::fetch(mlp.dtype, output.data() + (row * hidden + column) * size));
        double const ratio = std::abs(got - expected[column].value) / expected[column].error;
        worst = std::isfinite(ratio) ? std::max(worst, ratio) : std::numeric_limits<double>::infinity();
      }
    }
  }
  return worst;
}

void check_bound(BitReport& report, cuda::StreamView stream, DType dtype) {
  constexpr unsigned kSeed = 23;
  std::mt19937_64 random(kSeed);
  ExpertMlp const mlp = squared(128, 64, 4, dtype);
  Call const call{support::random_weights(random, mlp), support::random_matrix(random, dtype, 139, 128)};
  cuda::FastExperts const fast(mlp, stream);
  cuda::LayerExperts const exact(mlp, stream);
  double const of_fast = worst_ratio(call, mlp, kStandard, call.run(fast, kStandard, stream));
  double const of_exact = worst_ratio(call, mlp, kStandard, call.run(exact, kStandard, stream));
  std::string const name = std::string("random ") + std::string(to_string(dtype)) + ", seed " + std::to_string(kSeed);
  report.state(of_fast <= 1.0,
               name + ": largest error of the fast engine is " + std::to_string(of_fast) + " of the bound");
  report.state(of_exact <= 1.0, name + ": largest error of the exact engine is " + std::to_string(of_exact));
}

template <typename Make>
void refused(BitReport& report, std::string const& what, ErrorCode code, Make const& make) {
  bool found = false;
  try {
    make();
  } catch (switchyard::Error const& error) {
    found = error.code() == code;
  }
  report.state(found, what + " is refused with the right error");
}

void check_refusals(BitReport& report, cuda::StreamView stream) {
  ExpertMlp mlp = squared(64, 32, 4, DType::bf16);
  cuda::FastExperts const fast(mlp, stream);
  std::mt19937_64 random(3);
  Call const call{support::random_weights(random, mlp), support::random_matrix(random, DType::bf16, 8, 64)};
  refused(report, "a block outside the rows", ErrorCode::invalid_argument, [&] {
    static_cast<void>(call.run(fast, {{0, 4}, {4, 4}, {8, 1}, {9, 0}}, stream));
  });
  refused(report, "a missing block", ErrorCode::shape_mismatch, [&] {
    static_cast<void>(call.run(fast, {{0, 4}}, stream));
  });
  mlp.rounding = switchyard::ExpertRounding::fused(DType::bf16);
  refused(report, "unrounded hidden values", ErrorCode::unsupported, [&] { cuda::FastExperts const e(mlp, stream); });
  mlp = squared(64, 32, 4, DType::bf16);
  mlp.tp = {0, 2};
  refused(report, "TP size 2", ErrorCode::unsupported, [&] { cuda::FastExperts const e(mlp, stream); });
}

int run_all() {
  std::printf("device: %s\n", cuda::describe_device().c_str());
  BitReport report;
  cuda::Stream const stream;
  for (DType const dtype : {DType::bf16, DType::f16, DType::f32}) {
    check_integers(report, stream, dtype, kStandard, 139, false);
    check_integers(report, stream, dtype, kBatched, 160, true);
    check_integers(report, stream, dtype, {{0, 0}, {0, 0}, {0, 0}, {0, 0}}, 0, false);
    check_bound(report, stream, dtype);
  }
  check_refusals(report, stream);
  std::printf("%d checks, %d failed\n", report.checks(), report.failures());
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
