// SPDX-License-Identifier: Apache-2.0
#include "loss_rows.hpp"

#include "switchyard/hd/router_loss.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"
#include "token_totals.hpp"

namespace switchyard {
namespace routing {

void require_mask(TokenMask mask, std::int64_t num_tokens) {
  SWITCHYARD_REQUIRE(mask.empty() || mask.size() == to_size(num_tokens), shape_mismatch,
                     "token mask has {} entries for {} tokens: give one per token or none", mask.size(), num_tokens);
}

std::vector<float> counts_as_floats(std::span<std::int64_t const> counts) {
  std::vector<float> floats(counts.size());
  for (std::size_t e = 0; e < counts.size(); ++e) {
    SWITCHYARD_REQUIRE(counts[e] >= 0, invalid_argument, "token count of expert {} is {}: it must not be negative", e,
                       counts[e]);
    floats[e] = static_cast<float>(counts[e]);
  }
  return floats;
}

}  // namespace routing

std::vector<std::int64_t> tokens_per_expert(RoutingMap const& chosen) {
  return routing::count_choices(chosen, routing::every_token(chosen.num_tokens()));
}

std::vector<float> loss_scores(ScoreFunction function, ConstTensorView logits) {
  routing::LogitRows rows(logits, hd::LogitRules{});
  std::size_t const experts = to_size(rows.num_experts());
  std::vector<float> scores(to_size(checked_mul(rows.num_tokens(), rows.num_experts())));
  for (std::int64_t token = 0; token < rows.num_tokens(); ++token)
    hd::loss_score_row(hd::Alone{}, function, rows.row(token), rows.num_experts(), &scores[to_size(token) * experts]);
  return scores;
}

}  // namespace switchyard
