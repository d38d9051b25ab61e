// SPDX-License-Identifier: Apache-2.0
#include "costs/p2p_channels.hpp"

#include <algorithm>
#include <cmath>

namespace switchyard::sim {
namespace {

constexpr int kChannels = 32;
constexpr int kTasksPerChannel = 4;  // more slow a channel down
constexpr double kLowLatencyBytes = 16 << 10;
constexpr double kLowLatencyChunk = 64 << 10;
constexpr double kChunk = 512 << 10;
constexpr double kMostPart = kChunk * 32;

int halved_until(int ranks, int limit) noexcept {
  int channels = kChannels;
  while (channels > 1 && channels * ranks > limit) channels /= 2;
  return channels;
}

int most_channels(int ranks) noexcept {
  return halved_until(ranks, kChannels * kTasksPerChannel);
}

}  // namespace

double low_latency_limit(int ranks) noexcept {
  return most_channels(ranks) * kLowLatencyBytes;
}

PeerMessage peer_message(int ranks, double bytes) noexcept {
  int const usual = halved_until(ranks, kChannels);
  int const most = most_channels(ranks);
  PeerMessage message;
  message.low_latency = bytes <= low_latency_limit(ranks);
  double const least_part = (message.low_latency ? kLowLatencyChunk : kChunk) / 8;
  message.channels = static_cast<int>(std::clamp(std::ceil(bytes / least_part), 1.0, static_cast<double>(usual)));
  while (bytes / message.channels > kMostPart && message.channels <= most / 2) message.channels *= 2;
  return message;
}

}  // namespace switchyard::sim
