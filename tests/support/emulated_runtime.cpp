// SPDX-License-Identifier: Apache-2.0
// What differs from fake_cuda_runtime.cpp, which comes behind this: fresh memory is not zeros, and work is kept where a
// graph is captured. And what of the library itself asks for a GPU or runs kernels that are not emulated.
#include "support/emulated_runtime.hpp"

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "switchyard/cpu/quantize.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "system_probe.hpp"

namespace support {
namespace {

using Graph = std::vector<std::function<void()>>;
Graph* captured = nullptr;

cudaError_t issue(std::function<void()> const& work) {
  if (!is_captured(work)) work();
  return cudaSuccess;
}

/// Like fresh memory of a GPU: not zeros.
cudaError_t make_memory(void** memory, std::size_t bytes) {
  constexpr std::size_t kAlignment = 256;
  *memory = std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xcd, bytes);
  return cudaSuccess;
}
}  // namespace

bool is_captured(std::function<void()> const& work) {
  if (captured == nullptr) return false;
  captured->push_back(work);
  return true;
}

}  // namespace support

using support::issue;
using support::make_memory;

extern "C" {

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return make_memory(memory, bytes);
}
cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  return make_memory(memory, bytes);
}
cudaError_t cudaMemcpyAsync(void* to, void const* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  return issue([=] {
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  return issue([=] {
    if (bytes > 0) std::memset(to, value, bytes);
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  support::captured = new support::Graph;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = reinterpret_cast<cudaGraph_t>(std::exchange(support::captured, nullptr));
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* runnable, cudaGraph_t graph, unsigned long long) {
  *runnable = reinterpret_cast<cudaGraphExec_t>(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t runnable, cudaStream_t) {
  for (auto const& work : *reinterpret_cast<support::Graph*>(runnable)) work();
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) {
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete reinterpret_cast<support::Graph*>(graph);
  return cudaSuccess;
}

}  // extern "C"

namespace switchyard::cuda {

/// Every emulated device has the code of every kernel.
void require_device_code(char const*) {}

/// Packets of codes and scales from the CPU's quantiser.
void launch_quantize(QuantSpec const& spec, QuantizeParams const& params, StreamView) {
  if (params.rows == 0) return;
  auto const matrix = cpu::quantize(
      spec, ConstTensorView(params.values, params.dtype, {params.rows, params.columns}, MemorySpace::host));
  std::size_t const rows = static_cast<std::size_t>(params.rows);
  for (std::size_t row = 0; row < rows; ++row) {
    auto const copy = [&](std::vector<std::byte> const& parts, std::byte* to, std::int64_t stride) {
      std::size_t const bytes = parts.size() / rows;
      std::memcpy(to + static_cast<std::int64_t>(row) * stride, parts.data() + row * bytes, bytes);
    };
    copy(matrix.codes, params.codes, params.code_stride_bytes);
    copy(matrix.scales, params.scales, params.scale_stride_bytes);
  }
}

}  // namespace switchyard::cuda
