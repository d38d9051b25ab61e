// SPDX-License-Identifier: Apache-2.0
// The fast expert engine on e4m3 codes with a scale per 128 columns of a row and per 128 x 128 weights, against the
// exact engine, byte for byte, on data whose scales are powers of two: small integers times the power of their block,
// and in every block one value of 448 times that power, that meets a zero on the other side. Powers differ between rows
// and between blocks along and across the columns, so that a scale taken from a neighbour shows.
//
// By hand, one block: x = (448, 0, 1) * 2, gate line (0, 448, 8), up line (0, 448, 7) / 2: hidden 16 and 7, activation
// 16^2 * 7 = 448 * 4, so the scale of the block of activations is 4.
#include <optional>

#include "cuda_fast_coded.hpp"
#include "switchyard/cuda/fast_experts.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"

namespace cross_backend {
namespace {

constexpr int kExperts = 4;
constexpr float kLargest = 448.0F;

/// Every value of a matrix from its row, its column and a small integer.
template <typename Value>
Matrix made(std::mt19937_64& random, DType dtype, std::int64_t rows, std::int64_t columns, int chance,
            Value const& value) {
  std::vector<float> values = std::move(small_integers(random, dtype, rows, columns, chance).values);
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t column = 0; column < columns; ++column) {
      float& at = values[static_cast<std::size_t>(row * columns + column)];
      at = value(row, column, at);
    }
  return support::matrix_of(dtype, columns, std::move(values));
}

/// Of a row's block: rows differ, and the second block is smaller.
float row_power(std::int64_t row, std::int64_t block) {
  return std::ldexp(1.0F, static_cast<int>(row % 3) - 1 - (block == 1 ? 1 : 0));
}
/// Of a block of weights: lines' blocks differ, and the third block of columns is smaller.
float weight_power(std::int64_t line_block, std::int64_t block) {
  return std::ldexp(1.0F, -static_cast<int>(line_block % 2) - (block == 2 ? 1 : 0));
}

Matrix block_rows(std::mt19937_64& random, DType dtype, std::int64_t rows, std::int64_t hidden) {
  return made(random, dtype, rows, hidden, 1, [](std::int64_t row, std::int64_t column, float drawn) {
    std::int64_t const place = column % kScaleSide;
    float const value = place == 0 ? kLargest : place == 1 ? 0.0F : column == 2 ? 1.0F : drawn;
    return value * row_power(row, column / kScaleSide);
  });
}

/// In every block of units the first has the activation 448 times a power, and the second has 0.
Matrix block_w1(std::mt19937_64& random, DType dtype, std::int64_t hidden, std::int64_t units) {
  return made(random, dtype, kExperts * 2 * units, hidden, 33, [&](std::int64_t row, std::int64_t column, float drawn) {
    std::int64_t const line = row % (2 * units);
    std::int64_t const unit = line % units % kScaleSide;
    std::int64_t const place = column % kScaleSide;
    float value = place == 0 || column == 2 || unit < 2 ? 0.0F : drawn;
    if (place == 1) value = kLargest;
    if (column == 2 && unit == 0) value = line < units ? 8.0F : 7.0F;
    return value * weight_power(line / kScaleSide, column / kScaleSide);
  });
}

Matrix block_w2(std::mt19937_64& random, DType dtype, std::int64_t hidden, std::int64_t units) {
  return made(random, dtype, kExperts * hidden, units, 4, [&](std::int64_t row, std::int64_t column, float drawn) {
    std::int64_t const place = column % kScaleSide;
    float const value = place == 0 ? 0.0F : place == 1 ? kLargest : drawn;
    return value * weight_power(row % hidden / kScaleSide, column / kScaleSide);
  });
}

/// Nothing for the units whose activations are fixed.
Matrix block_b1(std::mt19937_64& random, DType dtype, std::int64_t units) {
  return made(random, dtype, kExperts, 2 * units, 1, [&](std::int64_t, std::int64_t column, float drawn) {
    return column % units % kScaleSide < 2 ? 0.0F : drawn * 0.5F;
  });
}

struct BlockCase {
  std::string name;
  std::int64_t hidden = 0;
  std::int64_t units = 0;  ///< of this TP rank
  DType dtype = DType::bf16;
  bool brought = false;
  std::optional<DType> biases{};
  int tp = 1;
};

ExpertMlp mlp_of(BlockCase const& c) {
  ExpertMlp mlp = squared(c.hidden, c.units * c.tp, kExperts, c.dtype, switchyard::GateLayout::split);
  mlp.tp = {c.tp - 1, c.tp};
  mlp.input_quant = QuantSpec{};
  mlp.activation_quant = QuantSpec{};
  return mlp;
}

CodedCall call_of(BlockCase const& c, std::mt19937_64& random) {
  CodedCall call{block_rows(random, c.dtype, 160, c.hidden), block_w1(random, c.dtype, c.hidden, c.units),
                 block_w2(random, c.dtype, c.hidden, c.units), QuantSpec{}, c.brought};
  if (!c.biases) return call;
  call.biased = true;
  call.b1 = block_b1(random, *c.biases, c.units);
  call.b2 = small_integers(random, *c.biases, kExperts, c.hidden);
  return call;
}

void check_case(BitReport& report, cuda::StreamView stream, BlockCase const& c) {
  std::mt19937_64 random(79);
  ExpertMlp const mlp = mlp_of(c);
  CodedCall const call = call_of(c, random);
  cuda::FastExperts const fast(mlp, stream);
  cuda::LayerExperts const exact(mlp, stream);
  for (auto const& blocks : {kEven, kBatched, kStandard})
    report.compare("blocks of scales, " + c.name, call.run(exact, blocks, stream), call.run(fast, blocks, stream),
                   "exact engine against fast engine");
}

/// The last block ends with the matrix, so that its padding has no rows.
void check_last_rows(BitReport& report, cuda::StreamView stream, bool brought) {
  std::mt19937_64 random(83);
  BlockCase const c{"up to the last row", 256, 128, DType::bf16, brought};
  CodedCall call = call_of(c, random);
  call.rows = block_rows(random, c.dtype, 9, c.hidden);
  std::vector<RowBlock> const blocks = {{0, 1}, {1, 2}, {3, 0}, {3, 6}};
  ExpertMlp const mlp = mlp_of(c);
  bool captured = false;
  Bytes const expected = call.run(cuda::LayerExperts(mlp, stream), blocks, stream);
  std::string const name = "blocks of scales " + c.name + (brought ? ", rows brought" : "");
  report.compare(name, expected, call.run(cuda::FastExperts(mlp, stream), blocks, stream, &captured));
  report.state(captured, name + ": captured in global mode and replayed");
}

/// Random values: codes are the same, so the engines differ by their sums, and where an activation's code becomes its
/// neighbour.
void check_random(BitReport& report, cuda::StreamView stream) {
  constexpr unsigned kSeed = 89;
  std::mt19937_64 random(kSeed);
  BlockCase const c{"random", 384, 256};
  ExpertMlp const mlp = mlp_of(c);
  auto const weights = support::random_weights(random, mlp);
  CodedCall const call{support::random_matrix(random, c.dtype, 40, c.hidden), weights.w1, weights.w2, QuantSpec{}};
  Bytes const exact = call.run(cuda::LayerExperts(mlp, stream), kEven, stream);
  double const relative = relative_difference(exact, call.run(cuda::FastExperts(mlp, stream), kEven, stream));
  report.state(relative > 0 && relative < std::ldexp(1.0, -5),
               "random codes with blocks of scales, seed " + std::to_string(kSeed) +
                   ": relative difference to the exact engine " + std::to_string(relative));
}

}  // namespace

void check_fast_blocks(BitReport& report, cuda::StreamView stream, bool few) {
  std::vector<BlockCase> cases{{"512 x 512", 512, 512}};
  if (!few)
    cases.insert(cases.end(), {{"512 x 512, rows brought", 512, 512, DType::bf16, true},
                               {"384 x 256", 384, 256},
                               {"384 x 256, f16", 384, 256, DType::f16},
                               {"384 x 256, biases of bf16", 384, 256, DType::bf16, false, DType::bf16},
                               {"384 x 256, biases of f32", 384, 256, DType::bf16, true, DType::f32},
                               {"320 x 192, cut blocks", 320, 192},
                               {"512 x 256, TP rank 1 of 2", 512, 256, DType::bf16, false, {}, 2}});
  for (BlockCase const& c : cases) attempt(report, c.name, [&] { check_case(report, stream, c); });
  for (bool const brought : {false, true})
    attempt(report, "the last rows", [&] { check_last_rows(report, stream, brought); });
  if (!few) attempt(report, "random codes", [&] { check_random(report, stream); });
}

}  // namespace cross_backend
