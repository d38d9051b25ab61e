// SPDX-License-Identifier: Apache-2.0
/// Workspace: a named arena that the same code passes over twice, first to count bytes, then to hand out memory, so
/// that a size and its use cannot disagree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/types/tensor_view.hpp"

namespace switchyard {

/// One named part of an arena.
struct WorkspacePart {
  std::string name;
  std::int64_t offset_bytes = 0;
  std::int64_t bytes = 0;
  friend bool operator==(WorkspacePart const&, WorkspacePart const&) = default;
};

/// Parts follow each other at multiples of 64 bytes. Not shared between threads; never owns memory.
class Workspace {
 public:
  /// Counting pass: take() returns empty spans, bytes() and parts() say what was asked for.
  Workspace() = default;
  /// Binding pass over caller's memory, which must start at a multiple of 64 bytes (0 bytes may be anywhere).
  /// @throws Error{invalid_argument} for a misaligned start.
  explicit Workspace(std::span<std::byte> memory);

  /// The next part, `count` elements of T. Contents are undefined. @throws Error{invalid_argument} for a negative count
  /// or more than 2^63 bytes in all, Error{out_of_memory} naming part and sizes when the memory bound is too small.
  template <typename T>
  [[nodiscard]] std::span<T> take(std::string_view name, std::int64_t count) {
    std::byte* const start = take_bytes(name, count, static_cast<std::int64_t>(sizeof(T)));
    return start == nullptr ? std::span<T>()
                            : std::span<T>(reinterpret_cast<T*>(start), static_cast<std::size_t>(count));
  }
  /// Bytes taken so far, padding included.
  [[nodiscard]] std::int64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] bool counting() const noexcept { return counting_; }
  [[nodiscard]] std::vector<WorkspacePart> const& parts() const noexcept { return parts_; }

  static constexpr std::int64_t kAlignment = 64;

 private:
  std::byte* take_bytes(std::string_view name, std::int64_t count, std::int64_t element_bytes);

  std::span<std::byte> memory_{};
  bool counting_ = true;
  std::int64_t bytes_ = 0;
  std::vector<WorkspacePart> parts_{};
};

/// Where workspaces lie, when not in host memory.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  [[nodiscard]] virtual MemorySpace space() const noexcept = 0;
  /// @return memory from a multiple of Workspace::kAlignment on, freed with the last copy of the pointer
  /// @throws Error{out_of_memory} with the size
  [[nodiscard]] virtual std::shared_ptr<std::byte> allocate(std::int64_t bytes) = 0;
};

/// Memory for a workspace, aligned as Workspace wants it. Grows, never shrinks.
class WorkspaceMemory {
 public:
  WorkspaceMemory() = default;
  /// @param source outlives the object; null = host memory
  explicit WorkspaceMemory(MemorySource* source) : source_(source) {}

  /// @return at least `bytes` bytes; the content is undefined. Earlier spans become invalid when it grows.
  /// @throws Error{invalid_argument} for a negative size, Error{out_of_memory} with the size.
  [[nodiscard]] std::span<std::byte> reserve(std::int64_t bytes);

 private:
  MemorySource* source_ = nullptr;
  std::shared_ptr<std::byte> foreign_{};
  std::int64_t foreign_bytes_ = 0;
  std::vector<std::byte> storage_{};
};

}  // namespace switchyard
