// SPDX-License-Identifier: Apache-2.0
/// MoeShape and WeightFormat: the sizes of a model's MoE layers and how its expert weights are stored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/experts/quantized_view.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard {

struct MoeShape {
  std::string name{};
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;
  int experts = 0;  ///< logical, per layer
  int top_k = 0;
  int layers = 1;          ///< with experts
  int shared_experts = 0;  ///< per layer, of the same intermediate size
  bool gated = true;       ///< the first layer has 2 * intermediate outputs
  bool biases = false;
};

/// Public models; shapes from their published configurations.
[[nodiscard]] std::vector<MoeShape> const& moe_shape_presets();
/// @return the preset of that name, or nothing.
[[nodiscard]] std::optional<MoeShape> find_moe_shape(std::string_view name);

/// Plain values of a dtype, or codes with scales.
struct WeightFormat {
  std::string name{};
  DType dtype = DType::bf16;  ///< unless `layout` is set
  std::optional<QuantLayout> layout{};
  /// Bytes of one [rows, columns] matrix: codes, scales, zero points, tensor scale. @throws as quant_sizes.
  [[nodiscard]] std::int64_t matrix_bytes(std::int64_t rows, std::int64_t columns) const;
};

/// bf16, f16, f32; fp8_tensor, fp8_block (128 x 128), mxfp8, mxfp4, nvfp4, int8_group, int4_group, int4_group_zero
/// (groups of 128; scales f32 as QuantizedView has them).
[[nodiscard]] std::vector<WeightFormat> const& weight_formats();
[[nodiscard]] std::optional<WeightFormat> find_weight_format(std::string_view name);

}  // namespace switchyard
