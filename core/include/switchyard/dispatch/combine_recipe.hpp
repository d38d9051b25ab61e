// SPDX-License-Identifier: Apache-2.0
/// CombineRecipe: the order and the rounding points of the weighted sum over a token's experts, as data.
#pragma once

#include <cstdint>
#include <string_view>

#include "switchyard/types/dtype.hpp"

namespace switchyard {

/// The order in which the terms of one output element are added.
enum class SumOrder : std::uint8_t {
  source_slot,  ///< at the source rank, slot (k) ascending; a dense map's slots are experts ascending
};

/// See docs/DETERMINISM.md. Every field is a rounding decision; two equal recipes give equal bits on every backend.
struct CombineRecipe {
  SumOrder order = SumOrder::source_slot;
  DType accumulate =
      DType::f32;  ///< each product is rounded to it, then added unfused; one final rounding to the row dtype

  /// The default: fp32, k ascending at the source rank, weight times row rounded to fp32, one rounding at the end.
  [[nodiscard]] static constexpr CombineRecipe source_slot_order() { return {}; }
  friend bool operator==(CombineRecipe const&, CombineRecipe const&) = default;
};

[[nodiscard]] std::string_view name_of(CombineRecipe const& recipe) noexcept;

}  // namespace switchyard
