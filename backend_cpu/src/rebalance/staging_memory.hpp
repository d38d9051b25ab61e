// SPDX-License-Identifier: Apache-2.0
/// allocate_staging(): the extra memory of a rebalance, reserved before anything moves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace switchyard::cpu {

/// @throws Error{out_of_memory} with the size.
[[nodiscard]] std::unique_ptr<std::byte[]> allocate_staging(std::int64_t bytes);

}  // namespace switchyard::cpu
