// SPDX-License-Identifier: Apache-2.0
#include "text_place.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "switchyard/types/error.hpp"

namespace switchyard::io {

std::string describe_place(std::string_view text, std::size_t offset, std::size_t first_byte, std::size_t first_line) {
  std::string_view const before = text.substr(0, std::min(offset, text.size()));
  auto const newlines = static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  std::size_t const line_start = newlines == 0 ? 0 : before.rfind('\n') + 1;
  return fmt::format("byte {} (line {}, column {})", first_byte + before.size(), first_line + newlines,
                     before.size() - line_start + 1);
}

void refuse_text(std::string const& source_name, std::string_view text, std::size_t offset,
                 std::string const& problem) {
  throw_error(ErrorCode::parse, fmt::format("{}: {}: {}", source_name, describe_place(text, offset), problem));
}

std::string excerpt(std::string_view piece, std::size_t max_chars) {
  std::string shown;
  for (char const c : piece) {
    if (shown.size() >= max_chars) return shown + "...";
    if (c >= ' ' && c <= '~') {
      shown += c;
    } else {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return shown;
}

}  // namespace switchyard::io
