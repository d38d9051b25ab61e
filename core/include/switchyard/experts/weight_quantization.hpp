// SPDX-License-Identifier: Apache-2.0
/// WeightQuantSpec: weight-only integer codes with one scale per group of columns.
#pragma once

#include <cstdint>

#include "switchyard/experts/quantization.hpp"

namespace switchyard {

/// Values stand for (code - zero point) * scale. Ranged: s = max(max - min, 1e-5) / (2^bits - 1), z = nearest(-min /
/// s), where max and min include 0. Symmetric: z = 2^(bits-1), s = max(max / (z - 1), -min / z), 1 for a group of
/// zeros. Code = nearest(x / s) + z within [0, 2^bits), ties to even.
/// @note Source: vLLM's quantize_weights (quant_utils.py). A group without a value on each side of zero is where we
/// differ: there |min / s| is taken for a zero point that it cannot be, and the group reads back as far too small.
struct WeightQuantSpec {
  int bits = 4;  ///< 4 or 8
  bool symmetric = true;
  std::int64_t group_columns = 128;  ///< 0 = the whole row

  /// @throws Error{invalid_argument} for other bits or a negative group.
  void validate() const;
  /// 4 bits: uint4 with zero points (8 when symmetric). 8 bits: int8 (code - 128) when symmetric, else uint8 with zero
  /// points. Scales f32.
  [[nodiscard]] QuantLayout layout() const;
  friend bool operator==(WeightQuantSpec const&, WeightQuantSpec const&) = default;
};

}  // namespace switchyard
