// SPDX-License-Identifier: Apache-2.0
/// PinnedBuffer: owned, page-locked host memory, from and to which copies run beside the host. No CUDA header needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace switchyard::cuda {

/// Move-only; the contents start undefined. Zero bytes allocate nothing.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  /// @throws Error{invalid_argument} for a negative size, Error{out_of_memory} with the size asked for.
  explicit PinnedBuffer(std::int64_t size_bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;
  PinnedBuffer(PinnedBuffer const&) = delete;
  PinnedBuffer& operator=(PinnedBuffer const&) = delete;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::int64_t size_bytes() const noexcept { return size_bytes_; }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, static_cast<std::size_t>(size_bytes_)}; }

 private:
  std::byte* data_ = nullptr;
  std::int64_t size_bytes_ = 0;
};

}  // namespace switchyard::cuda
