// SPDX-License-Identifier: Apache-2.0
/// The even and uneven all-to-alls that benchmarks time: how many bytes every rank sends every rank.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace switchyard {

inline constexpr std::int64_t kPatternGrain = 512;  ///< messages are whole rows in practice; odd addresses slow copies
inline constexpr std::pair<char const*, char const*> kAllToAllPatterns[] = {
    {"uniform", "every rank sends total/ranks to every rank"},
    {"zipf", "rank i sends rank j total/(1+(i+j) mod ranks)/H, H the sum of 1/(1+r) over ranks"},
    {"one_hot", "every rank sends total to rank 0"},
    {"one_direction", "even ranks send total to the next rank, odd ones nothing"},
    {"half_silent", "even ranks send total/ranks to every rank, odd ones nothing"},
};
/// The two parts of "uniform", which the simulator's costs tell apart.
inline constexpr std::pair<char const*, char const*> kUniformParts[] = {
    {"peers", "every rank sends total/ranks to every other rank"},
    {"own", "every rank copies total/ranks to itself"},
};

/// @return the part of a sender's bytes that `from` sends to `to`; 0 where `pattern` is unknown.
inline double pattern_share(std::string const& pattern, int ranks, int from, int to) {
  if (pattern == "uniform") return 1.0 / ranks;
  if (pattern == "peers") return from != to ? 1.0 / ranks : 0;
  if (pattern == "own") return from == to ? 1.0 / ranks : 0;
  if (pattern == "one_hot") return to == 0 ? 1 : 0;
  if (pattern == "one_direction") return from % 2 == 0 && to == (from + 1) % ranks ? 1 : 0;
  if (pattern == "half_silent") return from % 2 == 0 ? 1.0 / ranks : 0;
  if (pattern != "zipf") return 0;
  double sum = 0;
  for (int rank = 0; rank < ranks; ++rank) sum += 1.0 / (1 + rank);
  return 1.0 / (1 + (from + to) % ranks) / sum;
}

/// Bytes from rank to rank when every sender has `total`, in whole grains.
inline std::int64_t pattern_bytes(std::string const& pattern, int ranks, int from, int to, std::int64_t total) {
  double const share = pattern_share(pattern, ranks, from, to);
  return static_cast<std::int64_t>(static_cast<double>(total) * share) / kPatternGrain * kPatternGrain;
}

}  // namespace switchyard
