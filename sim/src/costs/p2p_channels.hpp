// SPDX-License-Identifier: Apache-2.0
/// PeerMessage: how NCCL spreads a message between two GPUs of a node over channels.
#pragma once

namespace switchyard::sim {

/// NCCL gives a communicator of R ranks in one node 32 channels for sends and receives. A message uses the power of two
/// that leaves every peer its own channels, fewer when parts would fall below an eighth of a chunk, and twice as many,
/// up to 32, while parts exceed 16 MiB. So a lone pair among four GPUs has half the channels of a pair of two GPUs.
/// Source: NCCL 2.28 src/enqueue.cc (addP2pToPlan: minPartSize, maxPartSize, thresholdLL), src/init.cc.
struct PeerMessage {
  int channels = 1;
  bool low_latency = false;  ///< protocol LL, whose data carries flags: slower, but sooner there
};

/// @return for a message of `bytes` in a communicator of `ranks`. Pure.
[[nodiscard]] PeerMessage peer_message(int ranks, double bytes) noexcept;
/// @return the largest message that goes by protocol LL: 16 KiB per channel that a message may get.
[[nodiscard]] double low_latency_limit(int ranks) noexcept;

}  // namespace switchyard::sim
