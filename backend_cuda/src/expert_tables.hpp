// SPDX-License-Identifier: Apache-2.0
/// What the exact engine keeps on the device between calls, and the checks of operands in device memory.
#pragma once

#include <vector>

#include "expert_kernels.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/experts.hpp"

namespace switchyard::cuda {

struct DeviceExpertWeights::Tables {
  ExpertWeights views{};  ///< without the spans of codes
  std::vector<QuantizedView> w1_views{};
  std::vector<QuantizedView> w2_views{};
  DeviceBuffer w1_codes{};  ///< [experts] CodedMatrix; empty: plain weights
  DeviceBuffer w2_codes{};
  bool w1_int8 = false;
  bool w2_int8 = false;

  [[nodiscard]] bool coded() const noexcept { return !w1_views.empty() || !w2_views.empty(); }
};

/// @throws Error{shape_mismatch} unless the view is contiguous device memory of rows x columns elements (leading
/// extents are flattened into `rows`), Error{unsupported} unless its dtype is f32, bf16 or f16
void require_device_matrix(ConstTensorView const& view, std::string_view name, std::int64_t rows, std::int64_t columns);
void require_dtype(ConstTensorView const& view, std::string_view name, DType wanted);
/// Whether codes can be an operand of an int8 product.
[[nodiscard]] bool is_int8(QuantizedView const& matrix) noexcept;

}  // namespace switchyard::cuda
