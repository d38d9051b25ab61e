// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/device_buffer.hpp"

#include <utility>

#include "allocation_fault.hpp"
#include "cuda_error.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {

namespace {

void require_same_size(std::int64_t device_bytes, std::size_t host_bytes) {
  SWITCHYARD_REQUIRE(static_cast<std::size_t>(device_bytes) == host_bytes, shape_mismatch,
                     "copy between a device buffer of {} bytes and {} bytes on the host: sizes must be equal",
                     device_bytes, host_bytes);
}

thread_local std::int64_t allocations_until_fault = -1;

}  // namespace

void fail_allocation_after(std::int64_t skip) noexcept {
  allocations_until_fault = skip;
}

bool allocation_must_fail() noexcept {
  if (allocations_until_fault < 0) return false;
  return allocations_until_fault-- == 0;
}

DeviceBuffer::DeviceBuffer(std::int64_t size_bytes) : size_bytes_(size_bytes) {
  SWITCHYARD_REQUIRE(size_bytes >= 0, invalid_argument, "a device buffer of {} bytes: the size must not be negative",
                     size_bytes);
  if (size_bytes == 0) return;
  cudaError_t const status =
      allocation_must_fail() ? cudaErrorMemoryAllocation : cudaMalloc(&data_, static_cast<std::size_t>(size_bytes));
  if (status != cudaSuccess) (void)cudaGetLastError();  // told below; not for the next call to find
  SWITCHYARD_REQUIRE(status != cudaErrorMemoryAllocation, out_of_memory,
                     "device memory of {} bytes could not be allocated: free other buffers or reduce the batch",
                     size_bytes);
  if (status != cudaSuccess) throw_cuda_error(status, "cudaMalloc", __FILE__, __LINE__);
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) (void)cudaFree(data_);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

TensorView DeviceBuffer::view(DType dtype, TensorShape const& shape) const {
  std::int64_t const needed = checked_mul(shape.num_elements(), size_of(dtype));
  SWITCHYARD_REQUIRE(needed == size_bytes_, shape_mismatch,
                     "a view of {} {} elements needs {} bytes, the device buffer has {}", shape.num_elements(),
                     to_string(dtype), needed, size_bytes_);
  return TensorView(data_, dtype, shape, MemorySpace::device);
}

void copy_to_device(std::span<std::byte const> host, DeviceBuffer const& device, StreamView stream) {
  require_same_size(device.size_bytes(), host.size());
  if (host.empty()) return;
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(device.data(), host.data(), host.size(), cudaMemcpyHostToDevice, stream.handle()));
}

void copy_to_host(DeviceBuffer const& device, std::span<std::byte> host, StreamView stream) {
  require_same_size(device.size_bytes(), host.size());
  if (host.empty()) return;
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(host.data(), device.data(), host.size(), cudaMemcpyDeviceToHost, stream.handle()));
}

void copy_device(DeviceBuffer const& from, DeviceBuffer const& to, StreamView stream) {
  SWITCHYARD_REQUIRE(from.size_bytes() == to.size_bytes(), shape_mismatch,
                     "copy from a device buffer of {} bytes into one of {}: sizes must be equal", from.size_bytes(),
                     to.size_bytes());
  if (from.size_bytes() == 0) return;
  SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(to.data(), from.data(), static_cast<std::size_t>(from.size_bytes()),
                                      cudaMemcpyDeviceToDevice, stream.handle()));
}

void fill_bytes(DeviceBuffer const& device, std::uint8_t value, StreamView stream) {
  if (device.size_bytes() == 0) return;
  SWITCHYARD_CUDA_TRY(
      cudaMemsetAsync(device.data(), value, static_cast<std::size_t>(device.size_bytes()), stream.handle()));
}

}  // namespace switchyard::cuda
