// SPDX-License-Identifier: Apache-2.0
/// DeviceBuffer: owned, untyped device memory, and the copies between it and the host. No CUDA header is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cuda {

/// Owns bytes of the current device's memory. Move-only; the contents start undefined. Zero bytes allocate nothing.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// @throws Error{invalid_argument} for a negative size, Error{out_of_memory} with the size asked for.
  explicit DeviceBuffer(std::int64_t size_bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  DeviceBuffer(DeviceBuffer const&) = delete;
  DeviceBuffer& operator=(DeviceBuffer const&) = delete;

  [[nodiscard]] void* data() const noexcept { return data_; }
  [[nodiscard]] std::int64_t size_bytes() const noexcept { return size_bytes_; }
  template <typename T>
  [[nodiscard]] T* as() const noexcept {
    return static_cast<T*>(data_);
  }
  /// @return a device view of the whole buffer. @throws Error{shape_mismatch} if the shape needs another size.
  [[nodiscard]] TensorView view(DType dtype, TensorShape const& shape) const;

 private:
  void* data_ = nullptr;
  std::int64_t size_bytes_ = 0;
};

/// Copies and fills, in stream order; host memory must stay alive until the stream is synchronised.
/// @throws Error{shape_mismatch} when the sizes differ, Error{cuda}.
void copy_to_device(std::span<std::byte const> host, DeviceBuffer const& device, StreamView stream);
void copy_to_host(DeviceBuffer const& device, std::span<std::byte> host, StreamView stream);
/// Both on the current device.
void copy_device(DeviceBuffer const& from, DeviceBuffer const& to, StreamView stream);
/// Sets every byte, e.g. to poison outputs.
void fill_bytes(DeviceBuffer const& device, std::uint8_t value, StreamView stream);

/// A buffer that holds `host`; returns when the copy is done. @throws as the functions above.
template <typename T>
[[nodiscard]] DeviceBuffer upload(std::vector<T> const& host, StreamView stream) {
  std::span<std::byte const> const bytes = std::as_bytes(std::span(host));
  DeviceBuffer device(static_cast<std::int64_t>(bytes.size()));
  copy_to_device(bytes, device, stream);
  stream.synchronize();
  return device;
}

/// The elements of a buffer, after all work on the stream. @throws as the functions above.
template <typename T>
[[nodiscard]] std::vector<T> download(DeviceBuffer const& device, StreamView stream) {
  std::vector<T> host(static_cast<std::size_t>(device.size_bytes()) / sizeof(T));
  copy_to_host(device, std::as_writable_bytes(std::span(host)), stream);
  stream.synchronize();
  return host;
}

}  // namespace switchyard::cuda
