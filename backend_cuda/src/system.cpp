// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/system.hpp"

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>

#include "cuda_error.hpp"
#include "switchyard/types/error.hpp"
#include "system_probe.hpp"
#include "versions.hpp"

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
  found.bus = bus_of(device);
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
  cudaError_t const status = cudaGetDeviceCount(&count);
  if (!answered(status)) {
    report.problem = cudaGetErrorString(status);
    return;
  }
  for (int device = 0; device < count; ++device) report.devices.push_back(describe(device));
  for (int from = 0; from < count; ++from)
    for (int to = 0; to < count; ++to)
      if (from != to) report.peers.push_back(describe(from, to));
}

void report_code(SystemReport& report) {
  int current = 0;
  bool const had_current = !report.devices.empty() && answered(cudaGetDevice(&current));
  for (std::size_t device = 0; device < report.devices.size(); ++device)
    report.devices[device].has_code = answered(cudaSetDevice(static_cast<int>(device))) && current_device_has_code();
  if (had_current) static_cast<void>(answered(cudaSetDevice(current)));
}

}  // namespace

std::string bus_of(int device) {
  char text[32] = {};
  return answered(cudaDeviceGetPCIBusId(text, sizeof text, device)) ? text : "";
}

SystemReport report_without_code() {
  SystemReport report;
  report.has_cuda = true;
  report.architectures = SWITCHYARD_CUDA_ARCHITECTURES;
  if (!answered(cudaDriverGetVersion(&report.driver_version))) report.driver_version = 0;
  if (!answered(cudaRuntimeGetVersion(&report.runtime_version))) report.runtime_version = 0;
  report_nccl(report);
  report_devices(report);
  return report;
}

SystemReport system_report() {
  SystemReport report = report_without_code();
  report_code(report);
  return report;
}

void require_device_code(char const* what) {
  static std::atomic<std::uint64_t> devices_with_code{0};
  constexpr int kRemembered = 64;
  int device = 0;
  SWITCHYARD_CUDA_TRY(cudaGetDevice(&device));
  std::uint64_t const bit = device < kRemembered ? std::uint64_t{1} << device : 0;
  if ((devices_with_code.load(std::memory_order_relaxed) & bit) != 0) return;
  if (current_device_has_code()) {
    devices_with_code.fetch_or(bit, std::memory_order_relaxed);
    return;
  }
  cudaDeviceProp properties{};
  SWITCHYARD_CUDA_TRY(cudaGetDeviceProperties(&properties, device));
  throw Error(ErrorCode::unsupported, missing_code_text(what, properties.name, properties.major, properties.minor,
                                                        SWITCHYARD_CUDA_ARCHITECTURES));
}

}  // namespace switchyard::cuda
