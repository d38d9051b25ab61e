// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/device.hpp"

#include <fmt/format.h>

#include "cuda_error.hpp"
#include "versions.hpp"

namespace switchyard::cuda {

int device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();  // a missing device is an answer here, not an error for the next call to find
  return 0;
}

std::string describe_device() {
  int device = 0;
  int runtime = 0;
  int driver = 0;
  cudaDeviceProp properties{};
  SWITCHYARD_CUDA_TRY(cudaGetDevice(&device));
  SWITCHYARD_CUDA_TRY(cudaGetDeviceProperties(&properties, device));
  SWITCHYARD_CUDA_TRY(cudaRuntimeGetVersion(&runtime));
  SWITCHYARD_CUDA_TRY(cudaDriverGetVersion(&driver));
  return fmt::format("{}, compute capability {}.{}, CUDA runtime {}, driver {}", properties.name, properties.major,
                     properties.minor, cuda_version_text(runtime), cuda_version_text(driver));
}

}  // namespace switchyard::cuda
