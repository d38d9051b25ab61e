// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/workspace.hpp"

#include <limits>
#include <memory>
#include <new>
#include <stdexcept>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

Workspace::Workspace(std::span<std::byte> memory) : memory_(memory), counting_(false) {
  auto const address = reinterpret_cast<std::uintptr_t>(memory.data());
  SWITCHYARD_REQUIRE(memory.empty() || address % static_cast<std::uintptr_t>(kAlignment) == 0, invalid_argument,
                     "workspace starts {} bytes past a multiple of {}: use WorkspaceMemory",
                     address % static_cast<std::uintptr_t>(kAlignment), kAlignment);
}

std::byte* Workspace::take_bytes(std::string_view name, std::int64_t count, std::int64_t element_bytes) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max() - kAlignment;
  SWITCHYARD_REQUIRE(count >= 0 && count <= (kLargest - bytes_) / element_bytes, invalid_argument,
                     "workspace part {}: {} elements of {} bytes after {} bytes are not countable", name, count,
                     element_bytes, bytes_);
  std::int64_t const offset = bytes_;
  std::int64_t const wanted = count * element_bytes;
  std::int64_t const padded = (wanted + kAlignment - 1) / kAlignment * kAlignment;
  if (!counting_)
    SWITCHYARD_REQUIRE(to_size(offset + padded) <= memory_.size(), out_of_memory,
                       "workspace part {} needs bytes [{}, {}) but {} bytes were given: size it with the counting pass "
                       "of the same call",
                       name, offset, offset + padded, memory_.size());
  bytes_ += padded;
  parts_.push_back({std::string(name), offset, wanted});
  return counting_ || wanted == 0 ? nullptr : memory_.data() + offset;
}

std::span<std::byte> WorkspaceMemory::reserve(std::int64_t bytes) {
  SWITCHYARD_REQUIRE(bytes >= 0, invalid_argument, "a workspace of {} bytes", bytes);
  if (source_ != nullptr) {
    if (foreign_bytes_ < bytes) {
      foreign_.reset();
      foreign_bytes_ = 0;
      foreign_ = source_->allocate(bytes);
      foreign_bytes_ = bytes;
    }
    return {foreign_.get(), to_size(bytes)};
  }
  std::size_t const wanted = to_size(bytes) + to_size(Workspace::kAlignment);
  try {
    if (storage_.size() < wanted) storage_ = std::vector<std::byte>(wanted);
  } catch (std::bad_alloc const&) {
    throw_error(ErrorCode::out_of_memory, fmt::format("a workspace of {} bytes could not be allocated", bytes));
  } catch (std::length_error const&) {
    throw_error(ErrorCode::out_of_memory, fmt::format("a workspace of {} bytes could not be allocated", bytes));
  }
  void* start = storage_.data();
  std::size_t space = storage_.size();
  std::align(to_size(Workspace::kAlignment), to_size(bytes), start, space);
  return {static_cast<std::byte*>(start), to_size(bytes)};
}

}  // namespace switchyard
