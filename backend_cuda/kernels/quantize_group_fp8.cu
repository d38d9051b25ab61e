// SPDX-License-Identifier: Apache-2.0
// Quantisers whose rows hold several scales: launches by scheme and dtype, fp8 with fp32 scales here.
#include "dtype_switch.cuh"
#include "quantize_groups.cuh"
#include "quantize_small_groups.hpp"

namespace switchyard::cuda {

void launch_quantize_groups(QuantizeJob const& job, StreamView stream) {
  if (job.scheme != QuantScheme::fp8_group && job.scheme != QuantScheme::fp8_deepep)
    return launch_quantize_other_groups(job, stream);
  by_row_dtype(job.dtype, [&](auto value) {
    using T = decltype(value);
    if (job.scheme == QuantScheme::fp8_group) return launch_groups<QuantScheme::fp8_group, T>(job, stream);
    launch_groups<QuantScheme::fp8_deepep, T>(job, stream);
  });
}

}  // namespace switchyard::cuda
