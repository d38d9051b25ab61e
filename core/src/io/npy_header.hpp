// SPDX-License-Identifier: Apache-2.0
/// The header of a NumPy .npy file, versions 1 to 3: element type, shape and where the elements start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::io {

enum class NpyType : std::uint8_t { i1, i2, i4, i8, u1, u2, u4, u8, f4, f8 };
[[nodiscard]] std::size_t size_of(NpyType type) noexcept;

struct NpyHeader {
  NpyType type = NpyType::f8;
  std::vector<std::int64_t> shape;
  std::size_t data_offset = 0;
  std::int64_t num_elements = 1;
};

/// Reads and checks the header and that exactly the elements it announces follow. Little-endian numbers in C order
/// only. @throws Error{parse} naming the byte and what was found; Fortran order, big-endian, structured and object
/// arrays (which would be pickles) are refused by name.
[[nodiscard]] NpyHeader parse_npy_header(std::string_view content, std::string const& source_name);

}  // namespace switchyard::io
