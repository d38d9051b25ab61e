// SPDX-License-Identifier: Apache-2.0
/// reach_peer(): lets a device load from and store to another's memory.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "switchyard/types/error.hpp"

namespace gpu_bench {

inline void require(cudaError_t status, char const* call) {
  if (status != cudaSuccess)
    throw switchyard::Error(switchyard::ErrorCode::cuda, std::string(call) + ": " + cudaGetErrorString(status));
}

/// @param device the current one. @return whether it can; copies work without, by way of the host
inline bool reach_peer(int device, int peer) {
  if (device == peer) return true;
  int can = 0;
  require(cudaDeviceCanAccessPeer(&can, device, peer), "cudaDeviceCanAccessPeer");
  if (can == 0) return false;
  cudaError_t const status = cudaDeviceEnablePeerAccess(peer, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled)
    static_cast<void>(cudaGetLastError());
  else
    require(status, "cudaDeviceEnablePeerAccess");
  return true;
}

}  // namespace gpu_bench
