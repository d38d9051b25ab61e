// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/weight_quantization.hpp"

#include "switchyard/internal/require.hpp"

namespace switchyard {

void WeightQuantSpec::validate() const {
  SWITCHYARD_REQUIRE(bits == 4 || bits == 8, invalid_argument, "weight-only codes of {} bits: 4 or 8", bits);
  SWITCHYARD_REQUIRE(group_columns >= 0, invalid_argument,
                     "weight-only codes with groups of {} columns: 1 or more, or 0 for whole rows", group_columns);
}

QuantLayout WeightQuantSpec::layout() const {
  bool const is_signed = bits == 8 && symmetric;
  CodeFormat const code = bits == 4 ? CodeFormat::uint4 : is_signed ? CodeFormat::int8 : CodeFormat::uint8;
  return {code, ScaleFormat::f32, 1, group_columns, !is_signed, false};
}

}  // namespace switchyard
