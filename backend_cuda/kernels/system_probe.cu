// SPDX-License-Identifier: Apache-2.0
// A kernel that does nothing: whether it can be loaded says whether this build has code for a device.
#include <cuda_runtime_api.h>

#include "../src/system_probe.hpp"

namespace switchyard::cuda {
namespace {

__global__ void nothing() {}

}  // namespace

bool current_device_has_code() noexcept {
  cudaFuncAttributes attributes{};
  bool const found = cudaFuncGetAttributes(&attributes, nothing) == cudaSuccess;
  if (!found) static_cast<void>(cudaGetLastError());  // the answer, not an error for the next call to find
  return found;
}

}  // namespace switchyard::cuda
