// SPDX-License-Identifier: Apache-2.0
#include "memory_rows.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/slot_layout.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

/// Share of the slots that lie on the busiest rank.
double share(RowSetting const& setting) {
  return setting.slots == 0 ? 0.0 : static_cast<double>(setting.slots_per_rank) / static_cast<double>(setting.slots);
}

/// The probability that K distinct slots drawn uniformly miss all L of a rank: (P-L)/P (P-L-1)/(P-1) ...
double miss_probability(RowSetting const& setting) {
  double missed = 1.0;
  for (std::int64_t k = 0; k < setting.top_k; ++k)
    missed *= static_cast<double>(std::max<std::int64_t>(setting.slots - setting.slots_per_rank - k, 0)) /
              static_cast<double>(setting.slots - k);
  return missed;
}

std::int64_t nearest(std::int64_t rows, double factor) {
  return std::llround(static_cast<double>(rows) * factor);
}

MemoryAmount amount(RowSetting const& setting, std::int64_t expected, std::int64_t worst,
                    std::int64_t RoutedRows::*exact) {
  MemoryAmount rows{expected, worst, {}};
  if (setting.routed) rows.exact = (*setting.routed).*exact;
  return rows;
}

std::int64_t group_tokens(RowSetting const& setting) {
  return checked_mul(setting.tokens, setting.world());
}

}  // namespace

MemoryAmount fixed_rows(RowSetting const& setting, std::int64_t rows) {
  MemoryAmount fixed{rows, rows, {}};
  if (setting.routed) fixed.exact = rows;
  return fixed;
}

MemoryAmount chosen_rows(RowSetting const& setting) {
  std::int64_t const rows = checked_mul(setting.tokens, setting.top_k);
  return amount(setting, rows, rows, &RoutedRows::sent);
}

MemoryAmount received_rows(RowSetting const& setting) {
  std::int64_t const tokens = checked_mul(setting.tokens, setting.ep);
  return amount(setting, nearest(checked_mul(tokens, setting.top_k), share(setting)),
                checked_mul(tokens, std::min(setting.top_k, setting.slots_per_rank)), &RoutedRows::received);
}

MemoryAmount expert_rows(RowSetting const& setting) {
  std::int64_t const tokens = group_tokens(setting);
  return amount(setting, nearest(checked_mul(tokens, setting.top_k), share(setting)),
                checked_mul(tokens, std::min(setting.top_k, setting.slots_per_rank)), &RoutedRows::expert_rows);
}

MemoryAmount sent_tokens(RowSetting const& setting) {
  // Ranks that hold fewer slots than the fullest are counted as full: an upper bound when slots do not divide.
  double const destinations = static_cast<double>(setting.ep) * (1.0 - miss_probability(setting));
  double const most = static_cast<double>(std::min(setting.top_k, setting.ep));
  std::int64_t const copies = checked_mul(setting.tokens, setting.tp);
  return amount(setting, nearest(copies, std::min(destinations, most)),
                checked_mul(copies, std::min(setting.top_k, setting.ep)), &RoutedRows::sent_tokens);
}

MemoryAmount received_tokens(RowSetting const& setting) {
  std::int64_t const tokens = setting.slots_per_rank == 0 ? 0 : group_tokens(setting);
  return amount(setting, nearest(tokens, 1.0 - miss_probability(setting)), tokens, &RoutedRows::received_tokens);
}

MemoryAmount rows_of_expert(RowSetting const& setting) {
  std::int64_t const tokens = group_tokens(setting);
  double const chosen =
      setting.slots == 0 ? 0.0 : static_cast<double>(setting.top_k) / static_cast<double>(setting.slots);
  return amount(setting, nearest(tokens, chosen), tokens, &RoutedRows::rows_of_expert);
}

RoutedRows count_routed_rows(RoutingMap const& routing, ExpertParallelGrid const& grid) {
  SWITCHYARD_REQUIRE(grid.tp >= 1 && grid.ep >= 1, invalid_argument, "a group of tp {} x ep {}: 1 or more each",
                     grid.tp, grid.ep);
  SWITCHYARD_REQUIRE(routing.num_tokens() % grid.world() == 0, shape_mismatch,
                     "{} routed tokens do not divide by {} ranks: give every rank as many", routing.num_tokens(),
                     grid.world());
  SlotLayout const layout = SlotLayout::balanced(grid.ep, routing.num_experts());
  std::int64_t const tokens = routing.num_tokens() / grid.world();
  std::vector<std::int64_t> sent(to_size(grid.world())), sent_tokens(to_size(grid.world())),
      received(to_size(grid.world())), expert_rows(to_size(grid.ep)), received_tokens(to_size(grid.ep)),
      of_expert(to_size(routing.num_experts()));
  std::vector<RoutingChoice> choices;
  std::vector<std::int64_t> last_token(to_size(grid.ep), -1);
  for (std::int64_t token = 0; token < routing.num_tokens(); ++token) {
    RankId const source{static_cast<std::int32_t>(token / tokens)};
    routing.choices_of(TokenIndex{token}, choices);
    for (RoutingChoice const& choice : choices) {
      std::size_t const ep = to_size(layout.rank_of(SlotId{choice.expert.value()}).value());
      ++sent[to_size(source.value())];
      ++received[ep * to_size(grid.tp) + to_size(grid.tp_rank_of(source))];
      ++expert_rows[ep];
      ++of_expert[to_size(choice.expert.value())];
      if (std::exchange(last_token[ep], token) == token) continue;
      sent_tokens[to_size(source.value())] += grid.tp;
      ++received_tokens[ep];
    }
  }
  auto const most = [](std::vector<std::int64_t> const& of) {
    return of.empty() ? 0 : *std::max_element(of.begin(), of.end());
  };
  return {most(sent), most(received), most(expert_rows), most(sent_tokens), most(received_tokens), most(of_expert)};
}

}  // namespace switchyard
