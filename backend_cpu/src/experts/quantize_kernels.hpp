// SPDX-License-Identifier: Apache-2.0
/// QuantizeKernels: the loops of the quantisers, as a table of functions per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/types/dtype.hpp"
#include "switchyard/types/quant_scheme.hpp"

namespace switchyard::cpu {

/// What a scheme reads besides the values; see hd/quantize.hpp.
struct QuantizeTask {
  QuantScheme scheme;
  DType dtype;         ///< of the values
  std::int64_t group;  ///< columns that share a scale
  float given_scale;
  float upper_bound;
  float tensor_scale;
  float const* tensor_absmax;  ///< not null: the absmax of every group (dynamic per-tensor scales)
};

struct QuantizeKernels {
  /// Largest magnitude of `count` values, NaNs left out.
  float (*absmax)(void const* values, DType dtype, std::int64_t count);
  /// One row: codes (packed) and, unless null, the scales in their stored format.
  void (*row)(QuantizeTask const& task, void const* values, std::int64_t count, std::byte* codes, std::byte* scales);
};

namespace baseline {
extern QuantizeKernels const kQuantizeKernels;
}
#if defined(SWITCHYARD_X86_TARGETS)
namespace x86_64_v2 {
extern QuantizeKernels const kQuantizeKernels;
}
namespace x86_64_v3 {
extern QuantizeKernels const kQuantizeKernels;
}
namespace x86_64_v4 {
extern QuantizeKernels const kQuantizeKernels;
}
#endif

}  // namespace switchyard::cpu
