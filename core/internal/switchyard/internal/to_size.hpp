// SPDX-License-Identifier: Apache-2.0
/// to_size: the one spelling for "this checked, non-negative integer is used as a subscript or a length".
#pragma once

#include <concepts>
#include <cstddef>

namespace switchyard {

/// A negative value becomes a huge index, which checked containers refuse; callers have checked the range before.
template <std::integral Integer>
[[nodiscard]] constexpr std::size_t to_size(Integer value) noexcept {
  return static_cast<std::size_t>(value);
}

}  // namespace switchyard
