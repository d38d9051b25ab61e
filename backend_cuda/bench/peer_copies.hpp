// SPDX-License-Identifier: Apache-2.0
/// PeerCopies: the messages of an exchange as plain copies between devices of one process: what no exchange of the same
/// bytes goes below by much.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/cuda/event.hpp"

namespace gpu_bench {

class PeerCopies {
 public:
  /// Collective over ranks that are threads of this process, rank r on device r. Lets this device reach its peers
  /// where it can. @param receives where peers' messages land, at most one per peer; as many bytes as they send
  PeerCopies(switchyard::Communicator& comm, std::span<switchyard::cuda::DeviceSend const> sends,
             std::span<switchyard::cuda::DeviceReceive const> receives);

  /// Every message `times` times, one stream per message, between what was and what will be issued to `stream`.
  void run(switchyard::cuda::StreamView stream, int times);

 private:
  struct Copy {
    void* to;
    void const* from;
    std::int64_t bytes;
    int device;  ///< of `to`
  };

  int device_;
  std::vector<Copy> copies_{};
  std::vector<switchyard::cuda::Stream> streams_{};
  switchyard::cuda::Event forked_{};
  std::vector<switchyard::cuda::Event> passed_{};
};

}  // namespace gpu_bench
