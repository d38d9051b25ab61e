// SPDX-License-Identifier: Apache-2.0
/// The uneven all-to-alls that benchmarks time: how many bytes every rank sends every rank.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace gpu_bench {

inline constexpr std::int64_t kGrain = 512;  ///< messages are whole rows in practice; odd addresses slow copies down
inline constexpr std::pair<char const*, char const*> kPatterns[] = {
    {"uniform", "every rank sends total/ranks to every rank"},
    {"zipf", "rank i sends rank j total/(1+(i+j) mod ranks)/H, H the sum of 1/(1+r) over ranks"},
    {"one_hot", "every rank sends total to rank 0"},
    {"one_direction", "even ranks send total to the next rank, odd ones nothing"},
    {"half_silent", "even ranks send total/ranks to every rank, odd ones nothing"},
};

/// Bytes from rank to rank when every sender has `total`, in whole grains.
inline std::int64_t pattern_bytes(std::string const& pattern, int ranks, int from, int to, std::int64_t total) {
  double sum = 0;
  for (int rank = 0; rank < ranks; ++rank) sum += 1.0 / (1 + rank);
  double share = 1.0 / ranks;
  if (pattern == "zipf") share = 1.0 / (1 + (to + from) % ranks) / sum;
  if (pattern == "one_hot") share = to == 0 ? 1 : 0;
  if (pattern == "one_direction") share = from % 2 == 0 && to == (from + 1) % ranks ? 1 : 0;
  if (pattern == "half_silent" && from % 2 == 1) share = 0;
  return static_cast<std::int64_t>(static_cast<double>(total) * share) / kGrain * kGrain;
}

}  // namespace gpu_bench
