// SPDX-License-Identifier: Apache-2.0
/// The groups of checks of the program switchyard_cuda_bits.
#pragma once

#include "bit_report.hpp"
#include "switchyard/cuda/stream.hpp"

namespace cross_backend {

/// Every narrow format in both directions.
void check_conversions(BitReport& report, switchyard::cuda::StreamView stream);
/// Permute, chunk sort and combine of AlltoAll-shaped vectors.
void check_rows(BitReport& report, switchyard::cuda::StreamView stream);
/// Tree sums, shared experts and gradients.
void check_sums(BitReport& report, switchyard::cuda::StreamView stream);
/// Philox and fingerprints.
void check_digests(BitReport& report, switchyard::cuda::StreamView stream);
/// hd's elementary functions in fp64 and fp32.
void check_functions(BitReport& report, switchyard::cuda::StreamView stream);
/// Launchers in a captured graph.
void check_captures(BitReport& report, switchyard::cuda::StreamView stream);

}  // namespace cross_backend
