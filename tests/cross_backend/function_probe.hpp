// SPDX-License-Identifier: Apache-2.0
/// Runs hd's elementary functions on the device, for the comparison with the host only.
#pragma once

#include <cstdint>

#include "switchyard/cuda/stream.hpp"

namespace cross_backend {

enum class DoubleFunction { exp, log, normal_quantile };
enum class FloatFunction { exp, log, softplus, sigmoid, tanh, erf, rsqrt, min, max };

/// The one list of functions both sides of the comparison call; min and max take the neighbour `y` as second operand.
double call_on_host(DoubleFunction function, double x);
float call_on_host(FloatFunction function, float x, float y);

/// output[i] = f(input[i]), or f(input[i], input[count-1-i]); device memory, [count].
void launch_function(DoubleFunction function, double const* input, double* output, std::int64_t count,
                     switchyard::cuda::StreamView stream);
void launch_function(FloatFunction function, float const* input, float* output, std::int64_t count,
                     switchyard::cuda::StreamView stream);

}  // namespace cross_backend
