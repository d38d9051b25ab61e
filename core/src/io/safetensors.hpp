// SPDX-License-Identifier: Apache-2.0
/// Safetensors files: named tensors behind a JSON header. Strict: the tensors must tile the data exactly.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "raw_numbers.hpp"

namespace switchyard::io {

struct SafeTensor {
  std::string name;
  NumberType type = NumberType::i8;
  std::vector<std::int64_t> shape{};
  std::size_t num_elements = 0;
  std::size_t data_offset = 0;  ///< in the file
};

/// @return the tensors in the order of their data. @throws Error{parse} for a header that is no JSON or longer than the
/// file or 64 MiB, an unknown type, a shape that overflows or contradicts its bytes, and for data that overlaps,
/// leaves a hole or ends elsewhere than the file.
[[nodiscard]] std::vector<SafeTensor> parse_safetensors(std::string_view content, std::string const& source_name);

/// @return whether `content` starts like a safetensors file: a plausible length, then '{'.
[[nodiscard]] bool looks_like_safetensors(std::string_view content) noexcept;

/// A tensor to write: 64-bit integers.
struct IntegerTensor {
  std::string name;  ///< printable ASCII without quotes and backslashes
  std::vector<std::int64_t> values;
};
/// @return a file of one-dimensional I64 tensors in the order given. Same tensors, same bytes.
[[nodiscard]] std::string write_safetensors(std::vector<IntegerTensor> const& tensors);

}  // namespace switchyard::io
