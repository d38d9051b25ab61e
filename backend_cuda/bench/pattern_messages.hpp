// SPDX-License-Identifier: Apache-2.0
/// What one rank sends and receives in a pattern of alltoallv_patterns.hpp, message by message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/internal/alltoallv_patterns.hpp"

namespace gpu_bench {

struct PatternMessages {
  std::vector<switchyard::cuda::DeviceSend> sends{};
  std::vector<switchyard::cuda::DeviceReceive> receives{};
};

/// @param total bytes of a sending rank. @param out, in device memory: the messages of every peer lie there in order
inline PatternMessages messages_of(std::string const& pattern, int ranks, int me, std::int64_t total, std::byte* out,
                                   std::byte* in) {
  PatternMessages messages;
  for (int peer = 0; peer < ranks; ++peer) {
    std::int64_t const to = switchyard::pattern_bytes(pattern, ranks, me, peer, total);
    std::int64_t const from = switchyard::pattern_bytes(pattern, ranks, peer, me, total);
    if (to > 0) messages.sends.push_back({switchyard::RankId(peer), out, to});
    if (from > 0) messages.receives.push_back({switchyard::RankId(peer), in, from});
    out += to;
    in += from;
  }
  return messages;
}

}  // namespace gpu_bench
