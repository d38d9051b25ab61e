// SPDX-License-Identifier: Apache-2.0
/// Writes .npy bytes by hand, well-formed or not: independent of the reader under test.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace support {

/// @return magic, version, length field and `dict` padded with blanks and a newline, as NumPy writes them.
inline std::string npy_header(std::string_view dict, int version = 1) {
  std::size_t const length_bytes = version == 1 ? 2 : 4;
  std::string padded(dict);
  while ((8 + length_bytes + padded.size() + 1) % 64 != 0) padded += ' ';
  padded += '\n';
  std::string bytes("\x93NUMPY", 6);
  bytes += static_cast<char>(version);
  bytes += '\0';
  for (std::size_t i = 0; i < length_bytes; ++i) bytes += static_cast<char>(padded.size() >> (8 * i) & 0xffU);
  return bytes + padded;
}

inline std::string npy_dict(std::string_view descr, std::string_view shape) {
  return "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (" + std::string(shape) + "), }";
}

template <typename T>
std::string raw_bytes(std::vector<T> const& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace support
