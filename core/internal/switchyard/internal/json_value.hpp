// SPDX-License-Identifier: Apache-2.0
/// Strict JSON reading: a cursor that knows its place, so that every refusal names file, byte offset, path and value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::io {

struct JsonNode;

/// Limits on hostile input. Texts above 1 GiB are refused whatever max_bytes says (offsets are kept in 30 bits).
struct JsonLimits {
  std::size_t max_bytes = std::size_t{1} << 30;
  int max_depth = 64;
};

/// Where a text starts inside its file, for a record of a larger file: messages count from the file's start.
struct JsonOrigin {
  std::size_t first_byte = 0;
  std::size_t first_line = 1;
};

class JsonValue;

/// A parsed text with its origin. Refuses duplicate keys, depth over the limit, numbers that overflow (integers beyond
/// 64 bits, reals beyond the doubles), invalid UTF-8, NUL bytes, trailing bytes and empty text. A byte order mark is
/// skipped. Memory: at most about 30 times the text.
class JsonDocument {
 public:
  /// @throws Error{parse} naming source_name, byte offset and what was found.
  static JsonDocument parse(std::string_view text, std::string source_name, JsonLimits limits = {},
                            JsonOrigin origin = {});

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
  std::size_t array_size(std::size_t expected) const;                           ///< must be an array of that length
  [[nodiscard]] std::vector<std::string> keys() const;                          ///< must be an object; in file order
  void only_members(std::initializer_list<std::string_view> allowed) const;     ///< an object without other members
  [[nodiscard]] std::int64_t as_int(std::int64_t min, std::int64_t max) const;  ///< must be an integer number in range
  [[nodiscard]] double as_double() const;                                       ///< any finite number
  [[nodiscard]] bool as_bool() const;
  [[nodiscard]] std::string as_string() const;
  [[nodiscard]] bool is_null() const;
  [[nodiscard]] bool is_array() const;
  [[nodiscard]] bool is_object() const;
  [[nodiscard]] bool is_number() const;
  [[nodiscard]] bool is_string() const;
  /// An array of integers in range, checked element by element without building a cursor for each.
  [[nodiscard]] std::vector<std::int64_t> int_array(std::int64_t min, std::int64_t max) const;
  /// An array of finite numbers.
  [[nodiscard]] std::vector<double> double_array() const;

  /// Refuses this value: "<file>: byte N (line L, column C): $.path: found V, <problem>". Bytes count from 0, lines and
  /// columns (in bytes) from 1; V is shortened.
  [[noreturn]] void fail(std::string_view problem) const;
  [[nodiscard]] std::string path() const;

 private:
  friend class JsonDocument;
  JsonValue(std::shared_ptr<JsonDocument::State const> state, JsonNode const* node);
  void require_array() const;
  void require_object() const;

  std::shared_ptr<JsonDocument::State const> state_;
  JsonNode const* node_ = nullptr;  // inside *state_
};

}  // namespace switchyard::io
