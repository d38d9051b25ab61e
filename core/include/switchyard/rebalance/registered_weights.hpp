// SPDX-License-Identifier: Apache-2.0
/// RegisteredWeights: where the expert rows of one rank lie in memory. Bytes are opaque; nothing is owned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/types/fingerprint.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// One registered tensor of one layer: `rows` rows of `row_bytes` each, `row_stride_bytes` apart (host memory). Every
/// part of an expert is a tensor of its own: gate-up and down projections, scales, biases.
struct WeightTensor {
  std::byte* base = nullptr;
  std::int64_t row_bytes = 0;
  std::int64_t row_stride_bytes = 0;
  std::int64_t rows = 0;
};

/// [layer][tensor] of one rank; row i of every tensor belongs to the rank's slot i. Layers may differ in their tensors
/// (MTP layers, other quantisation); vLLM sizes its buffer by layer 0 and cannot (hazard H9).
class RegisteredWeights {
 public:
  RegisteredWeights() = default;
  /// @throws Error{invalid_argument} for a layer without tensors, row_bytes < 1, a stride below row_bytes, a null base
  ///         with rows, or an address range that overflows; Error{shape_mismatch} when tensors of one layer have
  ///         different numbers of rows; Error{invalid_argument} when any two rows share a byte (both are named).
  /// @note O(rows log rows).
  explicit RegisteredWeights(std::vector<std::vector<WeightTensor>> layers);

  [[nodiscard]] int num_layers() const noexcept { return static_cast<int>(layers_.size()); }
  /// @throws Error{invalid_argument} for a layer, tensor or row outside its range (the three functions below).
  [[nodiscard]] std::span<WeightTensor const> layer(int layer) const;
  [[nodiscard]] std::int64_t num_rows(int layer) const;
  [[nodiscard]] std::span<std::byte> row(int layer, int tensor, LocalExpertId row) const;
  /// @return the bytes of one expert of `layer`: the sum of row_bytes over its tensors.
  [[nodiscard]] std::int64_t expert_bytes(int layer) const;

  /// Digest of what all ranks of a group must agree on: layers, tensors per layer and row sizes; not rows, strides or
  /// addresses.
  [[nodiscard]] Fingerprint shape_fingerprint() const;

 private:
  std::vector<std::vector<WeightTensor>> layers_;
};

}  // namespace switchyard
