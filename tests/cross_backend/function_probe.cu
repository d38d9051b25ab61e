// SPDX-License-Identifier: Apache-2.0
#include "cuda_error.hpp"
#include "function_probe.hpp"
#include "switchyard/hd/elementary.hpp"
#include "switchyard/hd/math_f32.hpp"

namespace cross_backend {

namespace {

namespace hd = switchyard::hd;

SWITCHYARD_HD double call(DoubleFunction function, double x) {
  switch (function) {
    case DoubleFunction::exp: return hd::exp(x);
    case DoubleFunction::log: return hd::log(x);
    case DoubleFunction::normal_quantile: return hd::normal_quantile(x);
  }
  return 0.0;
}

SWITCHYARD_HD float call(FloatFunction function, float x, float y) {
  switch (function) {
    case FloatFunction::exp: return hd::exp(x);
    case FloatFunction::log: return hd::log(x);
    case FloatFunction::softplus: return hd::softplus(x);
    case FloatFunction::sigmoid: return hd::sigmoid(x);
    case FloatFunction::tanh: return hd::tanh(x);
    case FloatFunction::erf: return hd::erf(x);
    case FloatFunction::rsqrt: return hd::rsqrt(x);
    case FloatFunction::min: return hd::min_propagate(x, y);
    case FloatFunction::max: return hd::max_propagate(x, y);
  }
  return 0.0f;
}

__global__ void double_kernel(DoubleFunction function, double const* input, double* output, std::int64_t count) {
  std::int64_t const i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) output[i] = call(function, input[i]);
}

__global__ void float_kernel(FloatFunction function, float const* input, float* output, std::int64_t count) {
  std::int64_t const i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) output[i] = call(function, input[i], input[count - 1 - i]);
}

unsigned blocks_for(std::int64_t count) {
  return static_cast<unsigned>((count + switchyard::cuda::kBlockThreads - 1) / switchyard::cuda::kBlockThreads);
}

}  // namespace

double call_on_host(DoubleFunction function, double x) {
  return call(function, x);
}

float call_on_host(FloatFunction function, float x, float y) {
  return call(function, x, y);
}

void launch_function(DoubleFunction function, double const* input, double* output, std::int64_t count,
                     switchyard::cuda::StreamView stream) {
  double_kernel<<<blocks_for(count), switchyard::cuda::kBlockThreads, 0, stream.handle()>>>(function, input, output,
                                                                                            count);
  switchyard::cuda::check_launch("double_kernel");
}

void launch_function(FloatFunction function, float const* input, float* output, std::int64_t count,
                     switchyard::cuda::StreamView stream) {
  float_kernel<<<blocks_for(count), switchyard::cuda::kBlockThreads, 0, stream.handle()>>>(function, input, output,
                                                                                           count);
  switchyard::cuda::check_launch("float_kernel");
}

}  // namespace cross_backend
