// SPDX-License-Identifier: Apache-2.0
/// p2p_channels(): over how many channels NCCL spreads a message between two GPUs of a node.
#pragma once

namespace switchyard::sim {

/// NCCL gives a communicator of R ranks in one node 32 channels for sends and receives. A message uses the power of two
/// that leaves every peer its own channels, fewer when parts would fall below 64 KiB, and twice as many, up to 32,
/// while parts exceed 16 MiB. So a lone pair among four GPUs has half the channels of a pair of two GPUs.
/// Source: NCCL 2.28 src/enqueue.cc (addP2pToPlan, minPartSize and maxPartSize of 512 KiB chunks).
/// @return channels of a message of `bytes`, at least 1. Pure.
[[nodiscard]] int p2p_channels(int ranks, double bytes) noexcept;

}  // namespace switchyard::sim
