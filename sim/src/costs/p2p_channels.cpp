// SPDX-License-Identifier: Apache-2.0
#include "costs/p2p_channels.hpp"

#include <algorithm>
#include <cmath>

namespace switchyard::sim {
namespace {

constexpr int kChannels = 32;
constexpr double kChunkBytes = 512 << 10;
constexpr double kLeastPart = kChunkBytes / 8;
constexpr double kMostPart = kChunkBytes * 32;
constexpr int kTasksPerChannel = 4;  // more slow a channel down

int halved_until(int ranks, int limit) noexcept {
  int channels = kChannels;
  while (channels > 1 && channels * ranks > limit) channels /= 2;
  return channels;
}

}  // namespace

int p2p_channels(int ranks, double bytes) noexcept {
  int const usual = halved_until(ranks, kChannels);
  int const most = halved_until(ranks, kChannels * kTasksPerChannel);
  double const parts = std::clamp(std::ceil(bytes / kLeastPart), 1.0, static_cast<double>(usual));
  int channels = static_cast<int>(parts);
  while (bytes / channels > kMostPart && channels <= most / 2) channels *= 2;
  return channels;
}

}  // namespace switchyard::sim
