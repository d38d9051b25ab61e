// SPDX-License-Identifier: Apache-2.0
/// The header of a NumPy .npy file, versions 1 to 3: element type, shape and where the elements start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "raw_numbers.hpp"

namespace switchyard::io {

struct NpyHeader {
  NumberType type = NumberType::f8;
  std::vector<std::int64_t> shape;
  std::size_t data_offset = 0;
  std::int64_t num_elements = 1;
};

/// Reads and checks the header and that exactly the elements it announces follow. Little-endian numbers in C order
/// only. @throws Error{parse} naming the byte and what was found; Fortran order, big-endian, structured and object
/// arrays (which would be pickles) are refused by name.
[[nodiscard]] NpyHeader parse_npy_header(std::string_view content, std::string const& source_name);

/// @return the bytes in front of the elements of a C-order array, version 1.0, padded as NumPy pads it (to 64 bytes).
/// @param type i8 or f8.
[[nodiscard]] std::string npy_header(NumberType type, std::vector<std::int64_t> const& shape);

}  // namespace switchyard::io
