// SPDX-License-Identifier: Apache-2.0
/// The names of ReplicaRules, and the choice that depends on token, rank and layer alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/types/ids.hpp"
#include "switchyard/types/replica_rule.hpp"

namespace switchyard {

[[nodiscard]] std::string_view to_string(ReplicaRule rule) noexcept;
/// @return the names, in the order of the enumerators.
[[nodiscard]] std::vector<std::string> replica_rule_names();
/// @throws Error{invalid_argument} for another name; the text lists the known ones.
[[nodiscard]] ReplicaRule parse_replica_rule(std::string_view name);

/// @return an index in [0, replica_count). @param replica_count at least 1. Pure.
/// @throws Error{invalid_argument} for a rule that needs to know more than these arguments: see ReplicaRouter.
[[nodiscard]] std::int64_t choose_replica(ReplicaRule rule, TokenIndex token, RankId source, int layer,
                                          std::int64_t replica_count);

}  // namespace switchyard
