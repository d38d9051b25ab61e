// SPDX-License-Identifier: Apache-2.0
/// FastLayers: both layers of the fast expert engine, each a product per expert with what it reads (weighted rows,
/// codes, scales where cuBLAS wants them) and what ends it (bias, rounding). Owns the memory in between.
#pragma once

#include <optional>
#include <vector>

#include "expert_matmul.hpp"
#include "fast_kernels.hpp"
#include "scratch.hpp"

namespace switchyard::cuda {

[[nodiscard]] cudaDataType_t cublas_type(DType dtype);

/// A product's left side, as rows of floats or of codes.
struct RowOperand {
  void const* data = nullptr;
  float const* scales = nullptr;
};

/// One layer's weights: one matrix for all experts, or codes and scales of each; with the bias that its results get.
struct WeightOperand {
  void const* plain = nullptr;
  std::vector<std::byte const*> codes{};
  std::vector<float const*> scales{};
  ConstTensorView bias{};

  WeightOperand(ConstTensorView const& weights, std::span<QuantizedView const> coded, ConstTensorView const& added);
};

/// Rows of a call, and where hidden values and activations lie.
struct FastRows {
  std::span<switchyard::RowBlock const> blocks{};  ///< of inputs and outputs
  std::int64_t count = 0;                          ///< of inputs and outputs, with those outside all blocks
  std::vector<switchyard::RowBlock> padded{};      ///< one behind the other, rows up to a multiple of kScalePadding
  std::int64_t padded_count = 0;
  bool packed = false;  ///< hidden values lie in `padded`, else in `blocks`

  FastRows(std::span<switchyard::RowBlock const> of, std::int64_t rows, ScaleSpan scales);
  [[nodiscard]] std::span<switchyard::RowBlock const> inner() const noexcept { return packed ? padded : blocks; }
  [[nodiscard]] std::int64_t inner_count() const noexcept { return packed ? padded_count : count; }
  /// The blocks with as many rows as a product takes of them.
  [[nodiscard]] std::vector<switchyard::RowBlock> multiplied(std::span<switchyard::RowBlock const> of) const;
  /// How many rows of inputs the first product reads, with those that pad blocks.
  [[nodiscard]] std::int64_t read() const;
};

class FastLayers {
 public:
  /// @throws Error{unsupported} where this GPU or version of cuBLAS lacks a product that the layers need, Error{cuda}
  FastLayers(ExpertMlp const& mlp, ScaleSpan scales, StreamView stream);

  [[nodiscard]] ExpertMlp const& mlp() const noexcept { return mlp_; }
  [[nodiscard]] ScaleSpan scales() const noexcept { return scales_; }
  [[nodiscard]] StreamView stream() const noexcept { return stream_; }
  /// Of the last layer's results, and of the gradients of rows: f32 for a partial.
  [[nodiscard]] DType joined_dtype() const noexcept { return mlp_.tp.size == 1 ? mlp_.dtype : DType::f32; }

  /// @throws Error{unsupported} where there is no product that these biases can be added to
  void require_biases(ExpertWeights const& weights);
  /// What the first layer reads: rows times their weights, or their codes.
  RowOperand first_input(ExpertCall const& call, FastRows const& rows);
  void first_layer(ExpertCall const& call, RowOperand const& input, FastRows const& rows);
  /// The activation of the first layer's results, or its operands for a gradient.
  [[nodiscard]] FastActivationJob activation_job(FastRows const& rows);
  void second_layer(ExpertCall const& call, FastRows const& rows);

  /// Products of plain operands for these blocks: all but operands, sizes and lines.
  [[nodiscard]] ExpertProducts products(std::span<switchyard::RowBlock const> blocks) const;
  void multiply(ExpertProducts const& products) { matmul_.multiply(products, stream_); }
  /// Room for rows of the row dtype.
  void* reserve(DeviceScratch& memory, std::int64_t rows, std::int64_t columns) const;

 private:
  /// Device memory for the codes of one product's rows.
  struct CodeScratch {
    DeviceScratch codes{};
    DeviceScratch scales{};
  };
  /// Where a layer's results go.
  struct ResultRows {
    void* data = nullptr;
    DType dtype{};
    std::span<switchyard::RowBlock const> blocks{};
  };
  /// Where a layer's rows lie, and as many as are multiplied.
  struct InputRows {
    RowOperand operand{};
    std::span<switchyard::RowBlock const> blocks{};
  };

  void require_products();
  void const* weigh(ExpertCall const& call, std::int64_t rows);
  RowOperand quantised(QuantSpec spec, std::optional<float> scale, void const* values, std::int64_t rows,
                       std::int64_t columns, std::int64_t rows_read, CodeScratch& to);
  RowOperand brought_codes(QuantizedView const& codes, std::int64_t rows_read);
  /// Rows up to `rows_read` that no code stands for are zeros.
  void clear_padding(void* codes, std::int64_t rows, std::int64_t rows_read, std::int64_t columns);
  RowOperand second_input(ExpertCall const& call, FastRows const& rows);
  [[nodiscard]] bool in_epilogue(ConstTensorView const& bias, DType result) const noexcept;

  void layer(InputRows const& input, FastRows const& rows, WeightOperand const& weights, std::int64_t columns,
             std::int64_t steps, ResultRows const& out);
  std::vector<float const*> left_scales(InputRows const& input, FastRows const& rows, std::int64_t steps);
  std::vector<float const*> right_scales(WeightOperand const& weights, std::int64_t columns, std::int64_t steps);

  ExpertMlp mlp_;
  ScaleSpan scales_;
  StreamView stream_;
  ExpertMatmul matmul_{};
  DeviceScratch weighted_{};  ///< rows times their router weights
  DeviceScratch hidden_{};
  DeviceScratch activation_{};
  DeviceScratch sums_{};  ///< results before a bias that no epilogue adds, or of padded rows
  CodeScratch row_codes_{};
  CodeScratch activation_codes_{};
  DeviceScratch row_scales_{};  ///< of one product, as cuBLAS reads them
  DeviceScratch weight_scales_{};
};

}  // namespace switchyard::cuda
