// SPDX-License-Identifier: Apache-2.0
// The fast expert engine on e4m3 codes against the exact one, byte for byte, on data whose scales are all 1: small
// integers, and in every row and line one value of 448, e4m3's largest, that meets a zero on the other side.
//
// By hand: x = (448, 0, 1), gate line (0, 448, 8), up line (0, 448, 7): hidden 8 and 7, activation 8^2 * 7 = 448, so
// the scale of the row of activations is 1, too.
#include "cuda_fast_coded.hpp"
#include "switchyard/cuda/fast_experts.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"

namespace cross_backend {
namespace {

constexpr std::int64_t kHidden = 64;
constexpr std::int64_t kUnits = 32;
constexpr int kExperts = 4;
constexpr float kLargest = 448.0F;

Matrix with(Matrix matrix, std::vector<std::pair<std::int64_t, float>> const& columns) {
  std::vector<float> values = std::move(matrix.values);
  for (std::size_t first = 0; first < values.size(); first += static_cast<std::size_t>(matrix.columns))
    for (auto const& [column, value] : columns) values[first + static_cast<std::size_t>(column)] = value;
  return support::matrix_of(matrix.dtype, matrix.columns, std::move(values));
}

Matrix coded_rows(std::mt19937_64& random, DType dtype, std::int64_t rows) {
  return with(small_integers(random, dtype, rows, kHidden, 2), {{0, kLargest}, {1, 0.0F}, {2, 1.0F}});
}

/// Unit 0 of every expert has the activation 448, unit 1 has 0.
Matrix coded_w1(std::mt19937_64& random, DType dtype) {
  Matrix w1 =
      with(small_integers(random, dtype, kExperts * 2 * kUnits, kHidden), {{0, 0.0F}, {1, kLargest}, {2, 0.0F}});
  std::vector<float> values = std::move(w1.values);
  for (std::int64_t expert = 0; expert < kExperts; ++expert)
    for (std::int64_t const line : {std::int64_t{0}, std::int64_t{1}, kUnits, kUnits + 1}) {
      auto* const at = values.data() + (expert * 2 * kUnits + line) * kHidden;
      for (std::int64_t c = 2; c < kHidden; ++c) at[c] = 0.0F;
      if (line == 0) at[2] = 8.0F;
      if (line == kUnits) at[2] = 7.0F;
    }
  return support::matrix_of(dtype, kHidden, std::move(values));
}

Matrix coded_w2(std::mt19937_64& random, DType dtype) {
  return with(small_integers(random, dtype, kExperts * kHidden, kUnits), {{0, 0.0F}, {1, kLargest}});
}

void check_scheme(BitReport& report, cuda::StreamView stream, DType dtype, QuantScheme scheme, bool brought) {
  std::mt19937_64 random(71);
  ExpertMlp mlp = squared(kHidden, kUnits, kExperts, dtype, switchyard::GateLayout::split);
  QuantSpec spec;
  spec.scheme = scheme;
  spec.given_scale = 1.0F;
  mlp.input_quant = spec;
  mlp.activation_quant = spec;
  CodedCall const call{coded_rows(random, dtype, 160), coded_w1(random, dtype), coded_w2(random, dtype), spec, brought};
  cuda::FastExperts const fast(mlp, stream);
  cuda::LayerExperts const exact(mlp, stream);
  std::string const name = "codes of " + std::string(to_string(scheme)) + ", " + std::string(to_string(dtype)) +
                           (brought ? ", rows brought" : "");
  for (auto const& blocks : {kEven, kBatched, kStandard})
    attempt(report, name + ", " + std::to_string(blocks[0].rows) + " and more rows", [&] {
      report.compare(name, call.run(exact, blocks, stream), call.run(fast, blocks, stream),
                     "exact engine against fast engine");
    });
}

/// Random values with scales of any kind: the difference to the exact engine over the bound of two such sums.
void check_random(BitReport& report, cuda::StreamView stream, QuantScheme scheme) {
  constexpr unsigned kSeed = 73;
  std::mt19937_64 random(kSeed);
  ExpertMlp mlp = squared(kHidden, kUnits, kExperts, DType::bf16, switchyard::GateLayout::split);
  QuantSpec spec;
  spec.scheme = scheme;
  spec.given_scale = 0.0625F;
  mlp.input_quant = spec;
  mlp.activation_quant = spec;
  auto const weights = support::random_weights(random, mlp);
  CodedCall const call{support::random_matrix(random, DType::bf16, 40, kHidden), weights.w1, weights.w2, spec};
  Bytes const exact = call.run(cuda::LayerExperts(mlp, stream), kEven, stream);
  Bytes const fast = call.run(cuda::FastExperts(mlp, stream), kEven, stream);
  double const relative = relative_difference(exact, fast);
  // An activation whose code is the neighbour of the exact one's is off by 2^-3; few of them are.
  report.state(relative > 0 && relative < std::ldexp(1.0, -5),
               "random codes of " + std::string(to_string(scheme)) + ", seed " + std::to_string(kSeed) +
                   ": relative difference to the exact engine " + std::to_string(relative));
}

}  // namespace

void check_fast_codes(BitReport& report, cuda::StreamView stream, bool few) {
  for (QuantScheme const scheme : {QuantScheme::fp8_tensor, QuantScheme::fp8_token}) {
    for (DType const dtype : few ? std::vector{DType::bf16} : std::vector{DType::bf16, DType::f16})
      for (bool const brought : {false, true})
        if (dtype == DType::bf16 || scheme == QuantScheme::fp8_tensor)
          check_scheme(report, stream, dtype, scheme, brought);
    check_random(report, stream, scheme);
  }
}

}  // namespace cross_backend
