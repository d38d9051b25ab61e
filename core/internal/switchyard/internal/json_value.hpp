// SPDX-License-Identifier: Apache-2.0
/// Strict JSON reading: a cursor that knows its path, so that every refusal names file, byte offset, path and value.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::io {

/// Limits on hostile input.
struct JsonLimits {
  std::size_t max_bytes = std::size_t{1} << 30;
  int max_depth = 64;
};

class JsonValue;

/// A parsed text with its origin. Refuses duplicate keys, depth over the limit, numbers that overflow, and non-UTF-8.
class JsonDocument {
 public:
  /// @throws Error{parse} naming source_name, byte offset and what was found.
  static JsonDocument parse(std::string_view text, std::string source_name, JsonLimits limits = {});

  [[nodiscard]] JsonValue root() const;
  [[nodiscard]] std::string const& source_name() const noexcept;

  struct State;

 private:
  std::shared_ptr<State const> state_;
};

/// A value inside a document. Cheap to copy; keeps the document alive.
class JsonValue {
 public:
  /// Checks and conversions: @throws Error{parse} with the value's place when it is something else.
  [[nodiscard]] JsonValue at(std::string_view key) const;                   ///< a member that must exist
  [[nodiscard]] std::optional<JsonValue> find(std::string_view key) const;  ///< a member that may be absent
  [[nodiscard]] JsonValue at(std::size_t index) const;
  [[nodiscard]] std::size_t array_size() const;                                 ///< must be an array
  [[nodiscard]] std::size_t array_size(std::size_t expected) const;             ///< must be an array of that length
  [[nodiscard]] std::vector<std::string> keys() const;                          ///< must be an object; in file order
  [[nodiscard]] std::int64_t as_int(std::int64_t min, std::int64_t max) const;  ///< must be an integer number in range
  [[nodiscard]] double as_double() const;                                       ///< any finite number
  [[nodiscard]] bool as_bool() const;
  [[nodiscard]] std::string as_string() const;
  [[nodiscard]] bool is_null() const;
  [[nodiscard]] bool is_array() const;
  [[nodiscard]] bool is_object() const;
  [[nodiscard]] bool is_number() const;
  /// An array of integers in range, checked element by element without building a cursor for each.
  [[nodiscard]] std::vector<std::int64_t> int_array(std::int64_t min, std::int64_t max) const;

  /// Refuses this value: "<file>: byte N: $.path: found V, <what is wrong>".
  [[noreturn]] void fail(std::string_view problem) const;
  [[nodiscard]] std::string path() const;

 private:
  friend class JsonDocument;
  // State, the nlohmann node and the parent chain; see json_value.cpp.
  std::shared_ptr<JsonDocument::State const> state_;
  nlohmann::json const* node_ = nullptr;
  std::string path_;
};

}  // namespace switchyard::io
