// SPDX-License-Identifier: Apache-2.0
/// The bridge between schedules and the oracle's plain lists.
#pragma once

#include "oracle/schedule_oracle.hpp"
#include "support/rebalance_cases.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"

namespace support {

inline std::vector<oracle::PlainCopy> plain(std::vector<switchyard::RowCopy> const& copies) {
  std::vector<oracle::PlainCopy> out;
  for (auto const& c : copies)
    out.push_back({c.expert.value(), c.rank.value(), c.source_row.value(), c.target_row.value()});
  return out;
}

inline std::vector<std::vector<int>> plain_ranks(switchyard::ExpertPlacement const& placement, int layer) {
  std::vector<std::vector<int>> ranks;
  for (int r = 0; r < placement.num_ranks(); ++r) {
    auto& slots = ranks.emplace_back();
    for (auto const expert : placement.rank_slots(layer, switchyard::RankId(r))) slots.push_back(expert.value());
  }
  return ranks;
}

inline oracle::PlainSchedule plain(switchyard::RebalanceSchedule const& schedule, int layer) {
  oracle::PlainSchedule out{plain_ranks(schedule.before, layer), plain_ranks(schedule.after, layer), {}, {}, {}};
  for (auto const& slots : out.before)
    out.spare_rows.push_back(schedule.limits.spare_rows < 0
                                 ? static_cast<int>(slots.size())
                                 : std::min(schedule.limits.spare_rows, std::max(1, static_cast<int>(slots.size()))));
  auto const& steps = schedule.layers[static_cast<std::size_t>(layer)];
  for (auto const& round : steps.rounds) {
    auto& plain_round = out.rounds.emplace_back();
    for (auto const& t : round.transfers)
      plain_round.transfers.push_back(
          {t.expert.value(), t.from.value(), t.source_row.value(), t.to.value(), t.target_row.value()});
    plain_round.copies = plain(round.copies);
  }
  out.commit = plain(steps.commit);
  return out;
}

}  // namespace support
