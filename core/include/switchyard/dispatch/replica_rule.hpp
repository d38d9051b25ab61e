// SPDX-License-Identifier: Apache-2.0
/// ReplicaRule: which replica of an expert a token goes to, as a named choice.
#pragma once

#include <cstdint>
#include <string_view>

#include "switchyard/types/ids.hpp"

namespace switchyard {

/// Depends on nothing but the arguments, so every rank can predict every other rank's choice.
enum class ReplicaRule : std::uint8_t {
  token_rank_layer,  ///< (token + source rank + layer) mod replicas, slots ascending
  first,             ///< always the lowest slot
};
[[nodiscard]] std::string_view to_string(ReplicaRule rule) noexcept;

/// @return an index in [0, replica_count). @param replica_count at least 1. Pure.
[[nodiscard]] std::int64_t choose_replica(ReplicaRule rule, TokenIndex token, RankId source, int layer,
                                          std::int64_t replica_count);

}  // namespace switchyard
