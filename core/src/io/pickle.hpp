// SPDX-License-Identifier: Apache-2.0
/// Restricted pickle reading: protocol 2, plain values and torch tensors, nothing else. No name in a pickle is ever
/// called; the few that are known become nodes of a tree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::io {

enum class PickleKind : std::uint8_t {
  none,
  boolean,
  integer,
  real,
  string,
  list,
  tuple,
  dict,
  global,   ///< a known name of a module, such as IntStorage
  storage,  ///< what a persistent id stands for; children: the id's tuple
  tensor,   ///< children: storage, offset, size, stride, ...
};

struct PickleNode {
  PickleKind kind = PickleKind::none;
  std::size_t offset = 0;                 ///< of the opcode, in the file
  std::int64_t integer = 0;               ///< boolean, integer
  double real = 0;                        ///< real
  std::string_view text{};                ///< string, global
  std::vector<std::uint32_t> children{};  ///< list, tuple; dict: key, value, key, value, ...
};

/// The values of one pickle. Containers may be shared or contain themselves; readers follow known paths only.
class Pickle {
 public:
  /// @param file_offset where `bytes` start in the file, for messages.
  /// @throws Error{parse} naming the byte for opcodes, names and protocols beyond the known ones, a stack that does not
  /// fit, dictionaries with a key twice, and more than 2^22 values.
  Pickle(std::string_view bytes, std::string const& source_name, std::size_t file_offset);

  [[nodiscard]] std::uint32_t root() const { return root_; }
  [[nodiscard]] PickleNode const& node(std::uint32_t id) const { return nodes_[id]; }
  /// @return the value of a string key, nothing when the dictionary has it not. @throws Error{parse} if `id` is none.
  [[nodiscard]] std::optional<std::uint32_t> find(std::uint32_t id, std::string_view key) const;
  [[nodiscard]] std::uint32_t at(std::uint32_t id, std::string_view key, std::string const& path) const;

  /// @throws Error{parse}, always: "<file>: byte N: <path>: <problem>".
  [[noreturn]] void refuse(std::uint32_t id, std::string const& path, std::string const& problem) const;
  /// @throws Error{parse} unless the node is of that kind.
  void require_kind(std::uint32_t id, PickleKind kind, std::string const& path) const;
  [[nodiscard]] std::int64_t integer(std::uint32_t id, std::string const& path) const;

 private:
  friend class PickleMachine;
  std::string source_name_;
  std::vector<PickleNode> nodes_;
  std::uint32_t root_ = 0;
};

[[nodiscard]] std::string_view to_string(PickleKind kind) noexcept;

}  // namespace switchyard::io
