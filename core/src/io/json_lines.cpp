// SPDX-License-Identifier: Apache-2.0
#include "json_lines.hpp"

#include <algorithm>

namespace switchyard::io {
namespace {

/// @return the offset behind the object that `content` starts with, or npos when it does not end.
std::size_t end_of_first_object(std::string_view content) {
  std::size_t depth = 0;
  for (std::size_t i = 0; i < content.size(); ++i) {
    switch (content[i]) {
      case '"':  // skip the string: brackets in it do not count
        for (++i; i < content.size() && content[i] != '"'; ++i)
          if (content[i] == '\\') ++i;
        break;
      case '{':
      case '[': ++depth; break;
      case '}':
      case ']':
        if (--depth == 0) return i + 1;
        break;
      default: break;
    }
  }
  return std::string_view::npos;
}

}  // namespace

std::optional<JsonValue> JsonLines::next() {
  while (position_ < content_.size()) {
    JsonOrigin const origin{position_, line_};
    std::size_t const end = std::min(content_.find('\n', position_), content_.size());
    std::string_view const line = content_.substr(position_, end - position_);
    position_ = end + 1;
    ++line_;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    return JsonDocument::parse(line, name_, {}, origin).root();
  }
  return std::nullopt;
}

bool is_record_per_line(std::string_view content) {
  std::size_t const end = end_of_first_object(content);
  if (end == std::string_view::npos) return false;
  if (content.substr(end).find_first_not_of(" \t\r\n") != std::string_view::npos) return true;
  std::string_view const first = content.substr(0, end);
  for (std::string_view const member : {"\"topk_ids\"", "\"record_type\"", "\"top_indices\""})
    if (first.find(member) != std::string_view::npos) return true;
  return false;
}

}  // namespace switchyard::io
