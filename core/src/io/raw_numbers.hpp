// SPDX-License-Identifier: Apache-2.0
/// Little-endian numbers as binary files hold them: their types, and reading one as a double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace switchyard::io {

enum class NumberType : std::uint8_t { i1, i2, i4, i8, u1, u2, u4, u8, f2, bf2, f4, f8 };
[[nodiscard]] std::size_t size_of(NumberType type) noexcept;
[[nodiscard]] bool is_integer(NumberType type) noexcept;

/// @return number `index` of the packed array at `data`. Integers beyond 2^53 come out beyond it, as +-2^54, because
/// rounding could bring them down to the limit.
[[nodiscard]] double read_number(NumberType type, char const* data, std::size_t index) noexcept;

/// @return the number as it stands in the file, for messages.
[[nodiscard]] std::string show_number(NumberType type, char const* data, std::size_t index);

/// @return the `bytes` bytes (at most 8) at `offset` as a little-endian number; they must be inside `content`.
[[nodiscard]] std::uint64_t little_endian(std::string_view content, std::size_t offset, std::size_t bytes) noexcept;

/// Appends the lowest `bytes` bytes of `value`, little-endian.
void append_little_endian(std::string& out, std::uint64_t value, std::size_t bytes);

}  // namespace switchyard::io
