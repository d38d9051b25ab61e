// SPDX-License-Identifier: Apache-2.0
#include "switchyard/rebalance/rebalance_schedule.hpp"

#include <algorithm>

#include "request_problems.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

// Field numbers of the fingerprint (docs/formats/plan.md). Operations and counts are numbered through over the layers.
enum Field : std::uint32_t {
  kFieldSchema = 1,
  kFieldBefore = 2,
  kFieldAfter = 3,
  kFieldMode = 4,
  kFieldNewRankOf = 5,
  kFieldDeadRanks = 6,
  kFieldReloads = 7,
  kFieldLimits = 8,
  kFieldExpertBytes = 9,
  kFieldCounts = 10,
  kFieldTransfers = 11,
  kFieldCopies = 12,
  kFieldBounds = 13,
  kFieldSpareRowsUsed = 14,
};

/// Numbers the values of one field through.
class FieldStream {
 public:
  FieldStream(FingerprintBuilder& builder, std::uint32_t field) : builder_(builder), field_(field) {}
  void add(std::int64_t value) { builder_.add_at(field_, next_++, value); }

 private:
  FingerprintBuilder& builder_;
  std::uint32_t field_;
  std::uint64_t next_ = 0;
};

class LayerDigest {
 public:
  explicit LayerDigest(FingerprintBuilder& builder)
      : counts_(builder, kFieldCounts),
        transfers_(builder, kFieldTransfers),
        copies_(builder, kFieldCopies),
        bounds_(builder, kFieldBounds),
        spare_rows_(builder, kFieldSpareRowsUsed) {}

  void add(LayerSchedule const& layer) {
    counts_.add(static_cast<std::int64_t>(layer.rounds.size()));
    for (TransferRound const& round : layer.rounds) {
      counts_.add(static_cast<std::int64_t>(round.transfers.size()));
      for (RowTransfer const& t : round.transfers)
        for (std::int32_t const value :
             {t.expert.value(), t.from.value(), t.source_row.value(), t.to.value(), t.target_row.value()})
          transfers_.add(value);
      add_copies(round.copies);
    }
    add_copies(layer.commit);
    add_bound(layer.bound);
    spare_rows_.add(layer.spare_rows_used);
  }

 private:
  void add_copies(std::vector<RowCopy> const& copies) {
    counts_.add(static_cast<std::int64_t>(copies.size()));
    for (RowCopy const& copy : copies)
      for (std::int32_t const value :
           {copy.expert.value(), copy.rank.value(), copy.source_row.value(), copy.target_row.value()})
        copies_.add(value);
  }
  void add_bound(RoundBound const& bound) {
    counts_.add(static_cast<std::int64_t>(bound.ranks.size()));
    bounds_.add(static_cast<std::int64_t>(bound.kind));
    bounds_.add(bound.rounds);
    bounds_.add(bound.expert.value());
    for (RankId const rank : bound.ranks) bounds_.add(rank.value());
  }

  FieldStream counts_;
  FieldStream transfers_;
  FieldStream copies_;
  FieldStream bounds_;
  FieldStream spare_rows_;
};

void add_header(RebalanceSchedule const& schedule, FingerprintBuilder& builder) {
  builder.add(kFieldSchema, RebalanceSchedule::kSchemaVersion);
  builder.add(kFieldBefore, static_cast<std::int64_t>(schedule.before.fingerprint().value));
  builder.add(kFieldAfter, static_cast<std::int64_t>(schedule.after.fingerprint().value));
  builder.add(kFieldMode, static_cast<std::int64_t>(schedule.mapping.mode));
  FieldStream new_ranks(builder, kFieldNewRankOf);
  for (RankId const rank : schedule.mapping.new_rank_of) new_ranks.add(rank.value());
  FieldStream dead(builder, kFieldDeadRanks);
  for (RankId const rank : schedule.dead_ranks) dead.add(rank.value());
  FieldStream reloads(builder, kFieldReloads);
  for (Reload const& reload : schedule.reloads)
    for (std::int32_t const value : {reload.layer, reload.rank.value(), reload.row.value(), reload.expert.value()})
      reloads.add(value);
  ScheduleLimits const& limits = schedule.limits;
  FieldStream numbers(builder, kFieldLimits);
  for (int const value : {limits.num_nodes, limits.intra_per_round, limits.max_transfers_per_round, limits.spare_rows})
    numbers.add(value);
  builder.add(kFieldExpertBytes, schedule.expert_bytes);
}

bool writes_slot(RebalanceSchedule const& schedule, RankId rank, LocalExpertId row) {
  return row.value() < schedule.before.layout().slots_of(rank);
}

void copy_rows(std::vector<RowCopy> const& copies, RowContents& contents) {
  for (RowCopy const& copy : copies) {
    auto& rows = contents.rows[copy.rank.index()];
    rows[copy.target_row.index()] = rows[copy.source_row.index()];
  }
}

void run_round(TransferRound const& round, RowContents& contents) {
  std::vector<ExpertId> arriving;
  for (RowTransfer const& t : round.transfers) arriving.push_back(contents.rows[t.from.index()][t.source_row.index()]);
  for (std::size_t i = 0; i < arriving.size(); ++i)
    contents.rows[round.transfers[i].to.index()][round.transfers[i].target_row.index()] = arriving[i];
  copy_rows(round.copies, contents);
}

LayerSchedule const& layer_of(RebalanceSchedule const& schedule, int layer) {
  SWITCHYARD_REQUIRE(layer >= 0 && to_size(layer) < schedule.layers.size(), invalid_argument,
                     "layer {} is outside [0, {}): the schedule has no such layer", layer, schedule.layers.size());
  return schedule.layers[to_size(layer)];
}

}  // namespace

std::string_view to_string(BoundKind kind) noexcept {
  switch (kind) {
    case BoundKind::none: return "none";
    case BoundKind::receive: return "receive";
    case BoundKind::node: return "node";
    case BoundKind::send: return "send";
    case BoundKind::spread: return "spread";
  }
  return "unknown";
}

int RebalanceSchedule::spare_rows_of(RankId rank) const {
  int const slots = before.layout().slots_of(rank);
  return limits.spare_rows == ScheduleLimits::kFullyBuffered ? slots : std::min(limits.spare_rows, std::max(1, slots));
}

Fingerprint RebalanceSchedule::fingerprint() const {
  FingerprintBuilder builder;
  add_header(*this, builder);
  LayerDigest digest(builder);
  for (LayerSchedule const& layer : layers) digest.add(layer);
  return builder.result();
}

bool is_buffered(RebalanceSchedule const& schedule, int layer) {
  auto const& rounds = layer_of(schedule, layer).rounds;
  return std::none_of(rounds.begin(), rounds.end(), [&](TransferRound const& round) {
    return std::any_of(round.transfers.begin(), round.transfers.end(),
                       [&](RowTransfer const& t) { return writes_slot(schedule, t.to, t.target_row); }) ||
           std::any_of(round.copies.begin(), round.copies.end(),
                       [&](RowCopy const& copy) { return writes_slot(schedule, copy.rank, copy.target_row); });
  });
}

RowContents contents_after(RebalanceSchedule const& schedule, int layer, int rounds_done, bool next_round_started) {
  LayerSchedule const& steps = layer_of(schedule, layer);
  RowContents contents;
  for (RankId rank(0); rank.value() < schedule.before.num_ranks(); ++rank) {
    auto const slots = schedule.before.rank_slots(layer, rank);
    auto& rows = contents.rows.emplace_back(slots.begin(), slots.end());
    rows.resize(slots.size() + to_size(schedule.spare_rows_of(rank)), kNoExpert);
  }
  auto const done = std::min(to_size(std::max(rounds_done, 0)), steps.rounds.size());
  for (std::size_t round = 0; round < done; ++round) run_round(steps.rounds[round], contents);
  if (to_size(std::max(rounds_done, 0)) > steps.rounds.size()) copy_rows(steps.commit, contents);
  if (next_round_started && done < steps.rounds.size()) {
    for (RowTransfer const& t : steps.rounds[done].transfers)
      contents.rows[t.to.index()][t.target_row.index()] = kNoExpert;
  }
  return contents;
}

ExpertPlacement target_placement(RebalanceSchedule const& schedule) {
  return rebalance::target_of(schedule.after, schedule.mapping);
}

}  // namespace switchyard
