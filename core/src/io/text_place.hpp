// SPDX-License-Identifier: Apache-2.0
/// Where in a text something stands, and how a piece of hostile text is shown inside a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace switchyard::io {

/// @return "byte N (line L, column C)" for `offset` into `text`; bytes count from 0 (plus `first_byte`), lines from
/// `first_line`, columns from 1 in bytes. O(offset): for error paths only.
[[nodiscard]] std::string describe_place(std::string_view text, std::size_t offset, std::size_t first_byte = 0,
                                         std::size_t first_line = 1);

/// @throws Error{parse}, always: "<source_name>: <place>: <problem>".
[[noreturn]] void refuse_text(std::string const& source_name, std::string_view text, std::size_t offset,
                              std::string const& problem);

/// @return at most `max_chars` characters of `piece`, printable ASCII kept, every other byte as \xNN, "..." when cut.
[[nodiscard]] std::string excerpt(std::string_view piece, std::size_t max_chars = 40);

}  // namespace switchyard::io
