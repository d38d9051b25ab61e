// SPDX-License-Identifier: Apache-2.0
/// JsonLines: walks a text of one JSON value per line; messages count bytes and lines from the start of the file.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "switchyard/internal/json_value.hpp"

namespace switchyard::io {

class JsonLines {
 public:
  JsonLines(std::string_view content, std::string const& source_name) : content_(content), name_(source_name) {}

  /// @return the value on the next line that is not blank, nothing at the end. @throws Error{parse} as JsonDocument.
  std::optional<JsonValue> next();

 private:
  std::string_view content_;
  std::string const& name_;
  std::size_t position_ = 0;
  std::size_t line_ = 1;
};

/// Is this text, which starts with an object, one value per line? True when text follows the object, or when it has a
/// member that only records of such files have.
[[nodiscard]] bool is_record_per_line(std::string_view content);

}  // namespace switchyard::io
