// SPDX-License-Identifier: Apache-2.0
/// The quantisers' shortcuts (kernels/quantize_codes.cuh) against hd's functions over all 2^32 floats, on the GPU.
#pragma once

#include <cstdint>

#include "switchyard/cuda/stream.hpp"

namespace cross_backend {

enum class CodeShortcut { e4m3, int8_round, int8_truncate, e2m1, divided_e4m3, divided_int8, f16_values };

/// Two words of device memory: how many floats differ, and the bits of the least of them.
struct ShortcutResult {
  std::uint64_t differing;
  std::uint64_t first;
};

/// @param divisor of the two that divide; their floats are those up to 1000 times the divisor.
void launch_shortcut(CodeShortcut shortcut, float divisor, ShortcutResult* result, switchyard::cuda::StreamView stream);

}  // namespace cross_backend
