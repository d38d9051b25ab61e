// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/replica_rule.hpp"

#include <array>

#include "switchyard/hd/replica_index.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard {

namespace {

struct NamedRule {
  ReplicaRule rule;
  std::string_view name;
};

constexpr std::array kRules = {
    NamedRule{ReplicaRule::token_rank_layer, "token_rank_layer"},
    NamedRule{ReplicaRule::first, "first"},
    NamedRule{ReplicaRule::counter_based, "counter_based"},
    NamedRule{ReplicaRule::vllm_flat, "vllm_flat"},
    NamedRule{ReplicaRule::vllm_token_hash, "vllm_token_hash"},
    NamedRule{ReplicaRule::sglang_static, "sglang_static"},
    NamedRule{ReplicaRule::sglang_dynamic, "sglang_dynamic"},
    NamedRule{ReplicaRule::tensorrt_llm, "tensorrt_llm"},
    NamedRule{ReplicaRule::ascend_rank, "ascend_rank"},
};

}  // namespace

std::string_view to_string(ReplicaRule rule) noexcept {
  for (auto const& known : kRules) {
    if (known.rule == rule) return known.name;
  }
  return "unknown";
}

std::vector<std::string> replica_rule_names() {
  std::vector<std::string> names;
  for (auto const& known : kRules) names.emplace_back(known.name);
  return names;
}

ReplicaRule parse_replica_rule(std::string_view name) {
  std::string names;
  for (auto const& known : kRules) {
    if (known.name == name) return known.rule;
    names += names.empty() ? "" : ", ";
    names += known.name;
  }
  throw_error(ErrorCode::invalid_argument, fmt::format("no replica rule is called \"{}\": use one of {}", name, names));
}

std::int64_t choose_replica(ReplicaRule rule, TokenIndex token, RankId source, int layer, std::int64_t replica_count) {
  SWITCHYARD_REQUIRE(replica_count >= 1, invalid_argument, "choice among {} replicas of an expert", replica_count);
  SWITCHYARD_REQUIRE(rule == ReplicaRule::first || rule == ReplicaRule::token_rank_layer, invalid_argument,
                     "replica rule {} depends on more than token, rank and layer: route through a ReplicaRouter",
                     to_string(rule));
  return hd::replica_index({rule, 0, layer, source.value(), 1}, token.value(), 0, replica_count, 0);
}

}  // namespace switchyard
