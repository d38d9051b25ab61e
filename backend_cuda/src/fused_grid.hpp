// SPDX-License-Identifier: Apache-2.0
/// The grid of a kernel whose blocks draw their items, and loading a kernel ahead of its first launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace switchyard::cuda {

/// @throws Error{cuda}
void load_kernel(void const* kernel);

/// Of the current device. @throws Error{cuda}
[[nodiscard]] int multiprocessors();

/// As many blocks as `processors` hold at once, at most one per group of block.y rows, at least one.
/// @throws Error{cuda}
[[nodiscard]] unsigned resident_blocks(void const* kernel, dim3 block, std::int64_t rows, int processors);

}  // namespace switchyard::cuda
