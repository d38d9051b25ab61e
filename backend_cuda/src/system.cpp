// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/system.hpp"

#include <cuda_runtime_api.h>

#include "system_probe.hpp"

namespace switchyard::cuda {
namespace {

/// A failed question is an answer here: it must not be found by the next CUDA call.
bool answered(cudaError_t status) {
  if (status != cudaSuccess) static_cast<void>(cudaGetLastError());
  return status == cudaSuccess;
}

SystemReport::Device describe(int device) {
  SystemReport::Device found;
  cudaDeviceProp properties{};
  if (!answered(cudaGetDeviceProperties(&properties, device))) return found;
  found.name = properties.name;
  found.major = properties.major;
  found.minor = properties.minor;
  found.memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem);
  found.has_code = answered(cudaSetDevice(device)) && current_device_has_code();
  return found;
}

SystemReport::Peer describe(int from, int to) {
  SystemReport::Peer peer{from, to};
  int value = 0;
  peer.direct = answered(cudaDeviceCanAccessPeer(&value, from, to)) && value != 0;
  peer.native_atomics =
      answered(cudaDeviceGetP2PAttribute(&value, cudaDevP2PAttrNativeAtomicSupported, from, to)) && value != 0;
  return peer;
}

void report_devices(SystemReport& report) {
  int count = 0;
  int current = 0;
  cudaError_t const status = cudaGetDeviceCount(&count);
  if (!answered(status)) {
    report.problem = cudaGetErrorString(status);
    return;
  }
  bool const had_current = count > 0 && answered(cudaGetDevice(&current));
  for (int device = 0; device < count; ++device) report.devices.push_back(describe(device));
  for (int from = 0; from < count; ++from)
    for (int to = 0; to < count; ++to)
      if (from != to) report.peers.push_back(describe(from, to));
  if (had_current) static_cast<void>(answered(cudaSetDevice(current)));
}

}  // namespace

SystemReport system_report() {
  SystemReport report;
  report.has_cuda = true;
  report.architectures = SWITCHYARD_CUDA_ARCHITECTURES;
  if (!answered(cudaDriverGetVersion(&report.driver_version))) report.driver_version = 0;
  if (!answered(cudaRuntimeGetVersion(&report.runtime_version))) report.runtime_version = 0;
  report_nccl(report);
  report_devices(report);
  return report;
}

}  // namespace switchyard::cuda
