// SPDX-License-Identifier: Apache-2.0
/// The groups of checks of the program switchyard_cuda_experts.
#pragma once

#include "bit_report.hpp"
#include "switchyard/cuda/stream.hpp"

namespace cross_backend {

/// Shortcuts of the quantisers over all floats, every scheme on shapes of every path, captured too.
void check_quantizers(BitReport& report, switchyard::cuda::StreamView stream, bool few);
/// The exact expert engine, forward and backward, captured.
void check_engine(BitReport& report, switchyard::cuda::StreamView stream, bool few);
void check_engine_gradients(BitReport& report, switchyard::cuda::StreamView stream, bool few);
/// Whole layers on several ranks that share the GPU.
void check_layers(BitReport& report, bool few);

}  // namespace cross_backend
