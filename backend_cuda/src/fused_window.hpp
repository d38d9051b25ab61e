// SPDX-License-Identifier: Apache-2.0
/// FusedWindow: device memory that every rank of an NVLink domain can address, registered with NCCL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace switchyard::cuda {

/// Memory first, which each rank has or has not on its own, then open() together. The first bytes are zero. Destroyed
/// after all ranks stopped using it.
class FusedWindow {
 public:
  /// @param zeroed_bytes at the front. @throws Error{out_of_memory}; Error{unsupported} where the loaded NCCL does not
  /// serve this build's device code
  FusedWindow(int world, std::int64_t bytes, std::int64_t zeroed_bytes);
  ~FusedWindow();
  FusedWindow(FusedWindow const&) = delete;
  FusedWindow& operator=(FusedWindow const&) = delete;

  /// Collective, once. @throws Error{nccl, timeout, unsupported}
  void open(NcclHandle handle, Duration deadline);

  [[nodiscard]] std::byte* data() const noexcept;
  /// [world] addresses of all ranks' windows, device memory; once open.
  [[nodiscard]] std::byte* const* peers() const noexcept { return peers_.as<std::byte* const>(); }

 private:
  struct Registration;
  int world_;
  std::int64_t bytes_;
  std::unique_ptr<Registration> registration_;
  DeviceBuffer peers_;
};

}  // namespace switchyard::cuda
