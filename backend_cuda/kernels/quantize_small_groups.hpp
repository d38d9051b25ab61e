// SPDX-License-Identifier: Apache-2.0
/// The quantisers that a second file compiles, to keep both short.
#pragma once

#include "quantize_kernels.hpp"

namespace switchyard::cuda {

/// launch_quantize_groups() for int8_group and the schemes with scales of one byte.
void launch_quantize_other_groups(QuantizeJob const& job, StreamView stream);

}  // namespace switchyard::cuda
