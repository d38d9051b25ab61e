// SPDX-License-Identifier: Apache-2.0
/// ExpertRun: one call of the exact engine, as the sequence of its launches.
#pragma once

#include "expert_tables.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "switchyard/experts/workspace.hpp"

namespace switchyard::cuda {

/// Room for codes of all rows of one layer's input.
struct CodeSpace {
  std::span<std::byte> codes{};
  std::span<std::byte> scales{};
};

/// Device memory of a call, carved by name; spans are empty in the counting pass.
struct ExpertSpace {
  std::span<std::byte> weighted{};  ///< rows times their router weights, of the row dtype
  CodeSpace input{};
  std::span<float> hidden{};      ///< [rows, first layer outputs]
  std::span<float> activation{};  ///< [rows, local units]
  CodeSpace activation_codes{};
  std::span<float> d_activation{};  ///< backward only
  std::span<float> d_hidden{};      ///< backward only, columns in the order of the sums over I

  [[nodiscard]] static ExpertSpace take(Workspace& arena, ExpertMlp const& mlp, std::int64_t rows, bool backward);
};

/// What a launch of this call needs to know.
struct ExpertRun {
  ExpertMlp const& mlp;
  DeviceExpertCall const& call;
  DeviceExpertWeights::Tables const& weights;
  ExpertSpace const& space;
  StreamView stream;
  std::int64_t const* map = nullptr;  ///< which row stands at a position; null: itself

  /// Plain rows that the first layer reads.
  [[nodiscard]] ChainOperand input_rows() const;
  void weigh_rows() const;
  void first_layer() const;
  void activate() const;
  void second_layer() const;

  /// A product whose results are rows of this call.
  [[nodiscard]] ChainProduct product(std::int64_t columns, std::int64_t steps) const;
  [[nodiscard]] ActivationJob activation_job() const;

 private:
  [[nodiscard]] ChainOperand quantized(QuantSpec spec, std::optional<float> scale, void const* values, DType dtype,
                                       std::int64_t columns, CodeSpace const& to) const;
  void multiply(ChainProduct const& product, bool rows_int8, bool weights_int8) const;
};

}  // namespace switchyard::cuda
