// SPDX-License-Identifier: Apache-2.0
#include "cuda_error.hpp"

#include <fmt/format.h>

#include <string_view>

#include "switchyard/types/error.hpp"

namespace switchyard::cuda {

namespace {

std::string_view advice(cudaError_t status) {
  switch (status) {
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver: return "; no usable GPU: check the driver, or use the CPU backend";
    case cudaErrorNoKernelImageForDevice:
      return "; this build has no code for the GPU: configure with its CMAKE_CUDA_ARCHITECTURES";
    case cudaErrorIllegalAddress:
      return "; an earlier kernel read or wrote outside its buffers: check shapes and memory spaces of the views "
             "passed";
    default: return "";
  }
}

}  // namespace

void throw_cuda_error(cudaError_t status, char const* call, char const* file, int line) {
  (void)cudaGetLastError();  // it is told here: the next launch must not be blamed for it
  ErrorCode const code = status == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::cuda;
  throw_error(code,
              fmt::format("{} failed with {} ({}){}", call, cudaGetErrorName(status), cudaGetErrorString(status),
                          advice(status)),
              file, line);
}

void throw_unsupported_dtype(char const* what, DType dtype) {
  throw_error(ErrorCode::unsupported,
              fmt::format("the GPU offers no {} of {}: use f32, bf16 or f16", what, to_string(dtype)));
}

void check_launch(char const* kernel, char const* file, int line) {
  cudaError_t const status = cudaGetLastError();
  if (status != cudaSuccess) throw_cuda_error(status, kernel, file, line);
}

}  // namespace switchyard::cuda
