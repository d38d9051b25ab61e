// SPDX-License-Identifier: Apache-2.0
#include "rebalance_moves.hpp"

#include <algorithm>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

bool moves_anything(LayerTransfers const& layer) {
  return std::any_of(layer.ranks.begin(), layer.ranks.end(), [](RankTransfers const& rank) {
    return !rank.sends.empty() || !rank.local_copies.empty() || !rank.duplicates.empty();
  });
}

RankId rank_in_group(std::span<RankId const> living, RankId rank) {
  auto const place = std::lower_bound(living.begin(), living.end(), rank);
  return RankId(static_cast<std::int32_t>(place - living.begin()));
}

void count_spare_row(LayerMoves& moves, LocalExpertId row) {
  moves.num_spare_rows = std::max(moves.num_spare_rows, row.value() + 1 - moves.num_slots);
}

std::vector<OwnCopy> own_copies(LayerMoves& moves, std::vector<RowCopy> const& copies, RankId me) {
  std::vector<OwnCopy> mine;
  for (RowCopy const& copy : copies) {
    if (copy.rank != me) continue;
    mine.push_back({copy.expert, copy.source_row, copy.target_row});
    count_spare_row(moves, copy.target_row);
  }
  return mine;
}

}  // namespace

LayerMoves layer_moves(RebalancePlan const& plan, int layer, RankId me) {
  LayerMoves moves;
  moves.layer = layer;
  moves.num_slots = plan.before.layout().slots_of(me);
  LayerTransfers const& all = plan.layers[to_size(layer)];
  if (!moves_anything(all)) return moves;
  RankTransfers const& mine = all.ranks[me.index()];
  RoundMoves round;
  auto const next_spare = [&] { return LocalExpertId(moves.num_slots + moves.num_spare_rows++); };
  for (LocalCopy const& copy : mine.local_copies) {
    LocalExpertId const spare = next_spare();
    moves.opening.push_back({copy.expert, copy.source_row, spare});
    moves.commit.push_back({copy.expert, spare, copy.target_row});
  }
  for (ExpertSend const& send : mine.sends) round.sends.push_back({send.expert, send.source_row, send.to});
  for (ExpertReceive const& receive : mine.receives) {
    LocalExpertId const spare = next_spare();
    round.receives.push_back({receive.expert, spare, receive.from});
    moves.commit.push_back({receive.expert, spare, receive.target_row});
  }
  for (LocalCopy const& copy : mine.duplicates) moves.commit.push_back({copy.expert, copy.source_row, copy.target_row});
  moves.rounds.push_back(std::move(round));
  return moves;
}

LayerMoves layer_moves(RebalanceSchedule const& schedule, int layer, RankId me, std::span<RankId const> living) {
  LayerMoves moves;
  moves.layer = layer;
  moves.num_slots = schedule.before.layout().slots_of(me);
  moves.buffered = is_buffered(schedule, layer);
  LayerSchedule const& steps = schedule.layers[to_size(layer)];
  for (TransferRound const& round : steps.rounds) {
    RoundMoves mine;
    for (RowTransfer const& transfer : round.transfers) {
      if (transfer.from == me)
        mine.sends.push_back({transfer.expert, transfer.source_row, rank_in_group(living, transfer.to)});
      if (transfer.to != me) continue;
      mine.receives.push_back({transfer.expert, transfer.target_row, rank_in_group(living, transfer.from)});
      count_spare_row(moves, transfer.target_row);
    }
    mine.copies = own_copies(moves, round.copies, me);
    moves.rounds.push_back(std::move(mine));
  }
  moves.commit = own_copies(moves, steps.commit, me);
  return moves;
}

std::vector<RankId> group_ranks(RebalanceSchedule const& schedule, bool with_dead) {
  std::vector<RankId> ranks;
  for (RankId rank(0); rank.value() < schedule.before.num_ranks(); ++rank)
    if (with_dead || !std::binary_search(schedule.dead_ranks.begin(), schedule.dead_ranks.end(), rank))
      ranks.push_back(rank);
  return ranks;
}

}  // namespace switchyard::cuda
