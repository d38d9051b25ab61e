// SPDX-License-Identifier: Apache-2.0
// Row spans, scratch memory and the parallel loop that all stages use.
#include <algorithm>
#include <new>

#include "stages.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// Below this a task costs more to start than to run.
constexpr std::int64_t kBytesPerTask = std::int64_t{1} << 18;

}  // namespace

std::span<std::byte const> ConstRows::bytes() const {
  return {data, to_size(count) * to_size(row_bytes)};
}

std::span<std::byte> Rows::bytes() const {
  return {data, to_size(count) * to_size(row_bytes)};
}

std::byte* ScratchBuffer::reserve(std::int64_t bytes) {
  if (bytes <= capacity_) return data_.get();
  data_.reset();
  capacity_ = 0;
  try {
    data_ = std::make_unique_for_overwrite<std::byte[]>(to_size(bytes));
  } catch (std::bad_alloc const&) {
    throw_error(ErrorCode::out_of_memory,
                fmt::format("scratch memory of {} bytes for a dispatch stage: lower the tokens per call", bytes));
  }
  capacity_ = bytes;
  return data_.get();
}

Rows ScratchBuffer::rows(std::int64_t count, std::int64_t row_bytes) {
  return {reserve(checked_mul(count, row_bytes)), count, row_bytes};
}

void for_items(std::int64_t count, std::int64_t item_bytes,
               std::function<void(std::int64_t, std::int64_t)> const& body) {
  std::int64_t const grain = std::max<std::int64_t>(1, kBytesPerTask / std::max<std::int64_t>(1, item_bytes));
  parallel_for(count, grain, body);
}

}  // namespace switchyard::cpu
