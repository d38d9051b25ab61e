// SPDX-License-Identifier: Apache-2.0
/// Which replica of an expert a choice goes to: the formulas of all ReplicaRules, for planners on hosts and devices.
#pragma once

#include <cstdint>

#include "switchyard/hd/philox.hpp"
#include "switchyard/types/host_device.hpp"
#include "switchyard/types/replica_rule.hpp"

namespace switchyard::hd {

/// tensorrt_llm counts inside blocks of this many flat choices (256 threads with 4 each).
inline constexpr std::int64_t kReplicaBlockChoices = 1024;
/// Choices of a token are drawn at (token * this + k), so that draws do not depend on top_k.
inline constexpr std::int64_t kReplicaMaxTopK = std::int64_t{1} << 16;

/// What all choices of one rank and layer share.
struct ReplicaContext {
  ReplicaRule rule;
  std::uint64_t seed;
  std::int64_t layer;
  std::int64_t rank;
  std::int64_t top_k;
};

/// @param count replicas of the expert, at least 1. @param known sglang_static: the expert's fixed index. tensorrt_llm:
/// the expert's choices among the flat ones since their block began. @return an index in [0, count)
SWITCHYARD_HD constexpr std::int64_t replica_index(ReplicaContext const& context, std::int64_t token, std::int64_t k,
                                                   std::int64_t count, std::int64_t known) noexcept {
  constexpr std::uint64_t kGoldenRatio = 2654435769;
  auto const bound = static_cast<std::uint64_t>(count);
  auto const draw = static_cast<std::uint64_t>(token * kReplicaMaxTopK + k);
  auto const stream = static_cast<std::uint64_t>(context.layer) << 32 | static_cast<std::uint64_t>(context.rank);
  std::int64_t const flat = token * context.top_k + k;
  switch (context.rule) {
    case ReplicaRule::first: return 0;
    case ReplicaRule::token_rank_layer: return (token + context.rank + context.layer) % count;
    case ReplicaRule::counter_based:
      return static_cast<std::int64_t>(multiply_high(philox_bits(context.seed, stream, draw), bound));
    case ReplicaRule::vllm_flat: return flat % count;
    case ReplicaRule::vllm_token_hash:
      return static_cast<std::int64_t>((static_cast<std::uint64_t>(token) * kGoldenRatio & 0xffffffff) % bound);
    case ReplicaRule::sglang_static: return known;
    case ReplicaRule::sglang_dynamic:
      return static_cast<std::int64_t>((philox_bits(context.seed, stream, draw) & 0xffff) % bound);
    case ReplicaRule::tensorrt_llm: return (known + flat / kReplicaBlockChoices + context.rank) % count;
    case ReplicaRule::ascend_rank: return context.rank % count;
  }
  return 0;
}

}  // namespace switchyard::hd
