// SPDX-License-Identifier: Apache-2.0
/// RankGate: lets what ranks have issued begin at the same time on all of them. Launches of a host take microseconds
/// and ranks' hosts are apart by as many, which a single small step would be charged with.
#pragma once

#include <cstdint>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cuda/device_buffer.hpp"

namespace gpu_bench {

class RankGate {
 public:
  /// Collective over ranks that are threads of this process, rank r on device r.
  explicit RankGate(switchyard::Communicator& comm);
  /// Whether every device reaches all others by loads and stores; run() needs it.
  [[nodiscard]] bool is_there() const { return is_there_; }
  /// A kernel that lasts longer than a host takes to issue a step behind it, then meets the other ranks' kernel:
  /// streams go on within the time that a store takes to a peer. Collective, at about the same time.
  void run(switchyard::cuda::StreamView stream);

 private:
  int rank_;
  int world_;
  bool is_there_ = true;
  std::uint64_t turn_ = 0;
  switchyard::cuda::DeviceBuffer words_;  ///< [world] u64: how often each rank has come
  switchyard::cuda::DeviceBuffer peers_;  ///< [world] where every rank's words are
};

}  // namespace gpu_bench
