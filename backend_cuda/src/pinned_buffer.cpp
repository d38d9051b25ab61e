// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/pinned_buffer.hpp"

#include <utility>

#include "allocation_fault.hpp"
#include "cuda_error.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cuda {

PinnedBuffer::PinnedBuffer(std::int64_t size_bytes) : size_bytes_(size_bytes) {
  SWITCHYARD_REQUIRE(size_bytes >= 0, invalid_argument, "a pinned buffer of {} bytes: the size must not be negative",
                     size_bytes);
  if (size_bytes == 0) return;
  void* data = nullptr;
  cudaError_t const status =
      allocation_must_fail() ? cudaErrorMemoryAllocation : cudaMallocHost(&data, static_cast<std::size_t>(size_bytes));
  if (status != cudaSuccess) (void)cudaGetLastError();  // told below; not for the next call to find
  SWITCHYARD_REQUIRE(status != cudaErrorMemoryAllocation, out_of_memory,
                     "pinned memory of {} bytes could not be allocated: raise the limit of locked memory (ulimit -l) "
                     "or reduce the batch",
                     size_bytes);
  if (status != cudaSuccess) throw_cuda_error(status, "cudaMallocHost", __FILE__, __LINE__);
  data_ = static_cast<std::byte*>(data);
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) (void)cudaFreeHost(data_);
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

}  // namespace switchyard::cuda
