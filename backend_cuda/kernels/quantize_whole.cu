// SPDX-License-Identifier: Apache-2.0
// Quantisers with one scale per row: their own schemes, and groups that are as long as a row.
#include "dtype_switch.cuh"
#include "quantize_rows.cuh"

namespace switchyard::cuda {

namespace {

template <typename T>
void launch_as_one_group(QuantizeJob job, StreamView stream) {
  switch (job.scheme) {
    case QuantScheme::fp8_token: return launch_rows<QuantScheme::fp8_token, T>(job, stream);
    case QuantScheme::int8_token: return launch_rows<QuantScheme::int8_token, T>(job, stream);
    default: return launch_quantize_groups(job, stream);
  }
}

}  // namespace

void launch_quantize_whole_rows(QuantizeJob const& job, StreamView stream) {
  by_row_dtype(job.dtype, [&](auto value) { launch_as_one_group<decltype(value)>(job, stream); });
}

}  // namespace switchyard::cuda
