// SPDX-License-Identifier: Apache-2.0
/// The parsed form of a JSON text: 16-byte nodes in one pool, each knowing its byte offset.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/internal/json_value.hpp"

namespace switchyard::io {

enum class JsonType : std::uint8_t { null, boolean, integer, big_unsigned, real, string, array, object };

/// One value. The children of a container lie side by side in the pool, so indexing is O(1). An object's are
/// key, value, key, value, ... in file order; above kSortedFrom members, `count` more nodes follow whose `first` values
/// number the members in key order.
struct JsonNode {
  union {
    std::int64_t integer;        // integer, boolean
    std::uint64_t big_unsigned;  // above the largest int64
    double real;
    std::uint64_t first;  // array, object: first child in the pool; string: first byte in the arena
  };
  std::uint64_t offset : 30;  // of the value's first byte in the text
  std::uint64_t count : 30;   // elements, members or string bytes
  std::uint64_t type_bits : 4;

  [[nodiscard]] JsonType type() const { return static_cast<JsonType>(type_bits); }
};
static_assert(sizeof(JsonNode) == 16);

inline constexpr std::size_t kSortedFrom = 16;
inline constexpr std::size_t kMaxJsonBytes = std::size_t{1} << 30;

/// Nodes and the unescaped bytes of every string.
struct JsonTree {
  std::vector<JsonNode> pool;
  std::string arena;
  JsonNode root{};

  [[nodiscard]] std::string_view string_of(JsonNode const& node) const {
    return std::string_view(arena).substr(node.first, node.count);
  }
  [[nodiscard]] JsonNode const& child(JsonNode const& container, std::size_t index) const {
    return pool[container.first + index];
  }
};

struct JsonDocument::State {
  std::string text;
  std::string source_name;
  JsonOrigin origin;
  JsonTree tree;

  /// @throws Error{parse}: "<source>: <place of offset>: <path>: <problem>".
  [[noreturn]] void refuse(std::size_t offset, std::string_view path, std::string_view problem) const;
};

/// Parses state.text into a tree. @throws Error{parse}.
[[nodiscard]] JsonTree build_json_tree(JsonDocument::State const& state, JsonLimits limits);

/// Extends a path: `$.a` + `b` = `$.a.b`; keys that are no plain words are quoted: `$["odd key"]`.
[[nodiscard]] std::string path_with_key(std::string path, std::string_view key);
[[nodiscard]] std::string path_with_index(std::string path, std::size_t index);

}  // namespace switchyard::io
