// SPDX-License-Identifier: Apache-2.0
/// For tests: an allocation that fails on purpose, so that what callers do then can be looked at.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

/// Of this thread's next allocations of device or pinned memory, `skip` succeed and the one after them fails once with
/// Error{out_of_memory}; a negative number takes the order back.
void fail_allocation_after(std::int64_t skip) noexcept;
/// Whether the allocation that asks is the one to fail. Counts it.
[[nodiscard]] bool allocation_must_fail() noexcept;

}  // namespace switchyard::cuda
