// SPDX-License-Identifier: Apache-2.0
/// QuantSpec: a quantisation scheme with its parameters, and the owner of what it makes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "switchyard/experts/quantized_view.hpp"
#include "switchyard/types/quant_scheme.hpp"

namespace switchyard {

struct QuantSpec {
  QuantScheme scheme = QuantScheme::fp8_group;
  std::int64_t group_columns = 128;  ///< of fp8_group, fp8_group_ue8m0, fp8_deepep, int8_group; others have their own
  float given_scale = 1.0f;          ///< fp8_tensor
  float upper_bound = 3e38f;         ///< fp8_token
  float tensor_scale = 1.0f;         ///< nvfp4: usually 448 * 6 / absmax of the tensor

  /// @throws Error{invalid_argument} for a group below 1 or a scale that is not positive and finite.
  void validate() const;
  [[nodiscard]] QuantLayout layout() const;
  /// Whether every row has scales of its own, so that scales can travel with their rows.
  [[nodiscard]] bool scales_per_row() const noexcept;
  friend bool operator==(QuantSpec const&, QuantSpec const&) = default;
};

/// A quantised matrix that owns its parts.
struct QuantizedMatrix {
  QuantLayout layout{};
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<std::byte> codes{};
  std::vector<std::byte> scales{};
  std::vector<std::byte> zero_points{};
  float tensor_scale = 1.0f;

  /// Zeroed parts of the sizes that the spec asks for. @throws as quant_sizes and QuantSpec::validate
  [[nodiscard]] static QuantizedMatrix make(QuantSpec const& spec, std::int64_t rows, std::int64_t columns);
  [[nodiscard]] QuantizedView view() const noexcept;
};

}  // namespace switchyard
