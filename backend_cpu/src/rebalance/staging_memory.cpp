// SPDX-License-Identifier: Apache-2.0
#include "staging_memory.hpp"

#include <new>

#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {

std::unique_ptr<std::byte[]> allocate_staging(std::int64_t bytes) {
  try {
    return std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(bytes));
  } catch (std::bad_alloc const&) {
    throw_error(
        ErrorCode::out_of_memory,
        fmt::format("no memory for {} bytes of staging; nothing was moved: rebalance in place, or free memory", bytes));
  }
}

}  // namespace switchyard::cpu
