// SPDX-License-Identifier: Apache-2.0
/// The CUDA runtime of emulated kernels: device memory is host memory, streams are done at once, and a captured graph
/// is the list of what was issued.
#pragma once

#include <functional>

namespace support {

/// Keeps `work` for the graph that is captured. @return false when none is: do it now
bool is_captured(std::function<void()> const& work);

}  // namespace support
