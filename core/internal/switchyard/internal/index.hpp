// SPDX-License-Identifier: Apache-2.0
/// Subscripts: 64-bit signed amounts into containers that count unsigned, without a cast at every use.
#pragma once

#include <cstddef>
#include <cstdint>

namespace switchyard {

/// A non-negative amount as a subscript. A negative one becomes huge, which checked containers refuse.
[[nodiscard]] constexpr std::size_t index_of(std::int64_t value) noexcept {
  return static_cast<std::size_t>(value);
}

/// The length of a container as the signed 64-bit amount all plans count in.
template <typename Container>
[[nodiscard]] constexpr std::int64_t length_of(Container const& container) noexcept {
  return static_cast<std::int64_t>(container.size());
}

}  // namespace switchyard
