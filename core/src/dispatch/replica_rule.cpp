// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/replica_rule.hpp"

#include "switchyard/internal/require.hpp"

namespace switchyard {

std::string_view to_string(ReplicaRule rule) noexcept {
  switch (rule) {
    case ReplicaRule::token_rank_layer: return "token_rank_layer";
    case ReplicaRule::first: return "first";
  }
  return "unknown";
}

std::int64_t choose_replica(ReplicaRule rule, TokenIndex token, RankId source, int layer, std::int64_t replica_count) {
  SWITCHYARD_REQUIRE(replica_count >= 1, invalid_argument, "choice among {} replicas of an expert", replica_count);
  if (rule == ReplicaRule::first) return 0;
  return (token.value() + source.value() + layer) % replica_count;
}

}  // namespace switchyard
