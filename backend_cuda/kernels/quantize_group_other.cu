// SPDX-License-Identifier: Apache-2.0
// Quantisers of groups: int8, and codes with scales of one byte.
#include "dtype_switch.cuh"
#include "quantize_groups.cuh"
#include "quantize_small_groups.hpp"

namespace switchyard::cuda {

void launch_quantize_other_groups(QuantizeJob const& job, StreamView stream) {
  by_row_dtype(job.dtype, [&](auto value) {
    using T = decltype(value);
    switch (job.scheme) {
      case QuantScheme::fp8_group_ue8m0: return launch_groups<QuantScheme::fp8_group_ue8m0, T>(job, stream);
      case QuantScheme::int8_group: return launch_groups<QuantScheme::int8_group, T>(job, stream);
      case QuantScheme::mxfp8: return launch_groups<QuantScheme::mxfp8, T>(job, stream);
      default: return launch_groups<QuantScheme::nvfp4, T>(job, stream);
    }
  });
}

}  // namespace switchyard::cuda
