// SPDX-License-Identifier: Apache-2.0
#include "scheduled_layer.hpp"

#include <algorithm>
#include <string>

#include "staging_memory.hpp"
#include "switchyard/internal/byte_checksum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// The spare rows that one rank uses in a layer: only they are allocated.
std::int64_t count_spare_rows(LayerSchedule const& steps, RankId rank, int num_slots) {
  std::int64_t used = 0;
  auto const note = [&](RankId owner, LocalExpertId row) {
    if (owner == rank) used = std::max<std::int64_t>(used, row.value() + 1 - num_slots);
  };
  for (TransferRound const& round : steps.rounds) {
    for (RowTransfer const& transfer : round.transfers) note(transfer.to, transfer.target_row);
    for (RowCopy const& copy : round.copies) note(copy.rank, copy.target_row);
  }
  for (RowCopy const& copy : steps.commit) note(copy.rank, copy.target_row);
  return used;
}

}  // namespace

ScheduledLayer::ScheduledLayer(RebalanceSchedule const& schedule, int layer, GroupView const& group,
                               RegisteredWeights const& weights, bool verify_rows)
    : schedule_(schedule),
      steps_(schedule.layers[to_size(layer)]),
      layer_(layer),
      group_(group),
      weights_(weights),
      verify_rows_(verify_rows),
      num_slots_(schedule.before.layout().slots_of(group.me)),
      expert_bytes_(weights.expert_bytes(layer)),
      num_spare_rows_(count_spare_rows(steps_, group.me, num_slots_)) {
  std::int64_t offset = 0;
  for (WeightTensor const& tensor : weights.layer(layer)) {
    tensor_offset_.push_back(offset);
    offset += tensor.row_bytes;
  }
  auto const rows = to_size(num_slots_ + num_spare_rows_);
  spare_ = allocate_staging(checked_mul(num_spare_rows_, expert_bytes_));
  if (verify_rows_) sums_.resize(rows * tensor_offset_.size());
  known_.resize(rows, false);
  written_.resize(rows, false);
}

std::int64_t ScheduledLayer::extra_bytes() const noexcept {
  return num_spare_rows_ * expert_bytes_ + static_cast<std::int64_t>(sums_.size() * sizeof(std::uint64_t));
}

std::span<std::byte> ScheduledLayer::row(int tensor, LocalExpertId row) const {
  if (row.value() < num_slots_) return weights_.row(layer_, tensor, row);
  std::int64_t const begin = (row.value() - num_slots_) * expert_bytes_ + tensor_offset_[to_size(tensor)];
  return {spare_.get() + begin, to_size(weights_.layer(layer_)[to_size(tensor)].row_bytes)};
}

ScheduledLayer::Sums ScheduledLayer::sums_of(std::vector<std::uint64_t>& sums, std::size_t row) const {
  return std::span(sums).subspan(row * tensor_offset_.size(), tensor_offset_.size());
}

void ScheduledLayer::add_sums(LocalExpertId index) {
  if (known_[index.index()]) return;
  auto const sums = sums_of(sums_, index.index());
  for (std::size_t t = 0; t < sums.size(); ++t) sums[t] = internal::byte_checksum(row(static_cast<int>(t), index));
  known_[index.index()] = true;
}

/// The group sees one list, so that messages of a pair of ranks match in its order.
void ScheduledLayer::exchange(int round, Communicator& comm, CallOptions const& options, bool keep) {
  std::vector<SendMessage> sends;
  std::vector<ReceiveMessage> receives;
  auto const tensors = static_cast<int>(tensor_offset_.size());
  bool const sums_travel = verify_rows_ && keep;
  if (!keep) scratch_.resize(to_size(this->receives(round) * expert_bytes_));
  std::size_t scratch = 0;
  for (RowTransfer const& transfer : steps_.rounds[to_size(round)].transfers) {
    if (transfer.from == group_.me) {
      RankId const to = group_.rank_in_group(transfer.to);
      for (int t = 0; t < tensors; ++t) sends.push_back({to, row(t, transfer.source_row)});
      if (sums_travel) add_sums(transfer.source_row);
      if (sums_travel) sends.push_back({to, std::as_bytes(sums_of(sums_, transfer.source_row.index()))});
    }
    if (transfer.to != group_.me) continue;
    RankId const from = group_.rank_in_group(transfer.from);
    for (int t = 0; t < tensors; ++t) {
      auto const target = row(t, transfer.target_row);
      receives.push_back({from, keep ? target : std::span(scratch_).subspan(scratch, target.size())});
      scratch += target.size();
    }
    if (sums_travel) receives.push_back({from, std::as_writable_bytes(sums_of(sums_, transfer.target_row.index()))});
    known_[transfer.target_row.index()] = keep;
    written_[transfer.target_row.index()] = keep;
  }
  comm.exchange(sends, receives, options);
}

void ScheduledLayer::check_row(LocalExpertId index, ExpertId expert, std::string const& origin) const {
  for (std::size_t t = 0; t < tensor_offset_.size(); ++t) {
    auto const bytes = row(static_cast<int>(t), index);
    std::uint64_t const found = internal::byte_checksum(bytes);
    std::uint64_t const expected = sums_[index.index() * tensor_offset_.size() + t];
    SWITCHYARD_REQUIRE(found == expected, corrupt_data,
                       "layer {}, expert {}, tensor {}: {} bytes {} in row {} of rank {} should have checksum {:016x} "
                       "and have {:016x}; suspect memory or transport, and load the row again",
                       layer_, expert.value(), t, bytes.size(), origin, index.value(), group_.me.value(), expected,
                       found);
  }
}

void ScheduledLayer::verify_arrivals(int round) const {
  if (!verify_rows_) return;
  for (RowTransfer const& transfer : steps_.rounds[to_size(round)].transfers)
    if (transfer.to == group_.me)
      check_row(transfer.target_row, transfer.expert, fmt::format("from rank {}", transfer.from.value()));
}

std::vector<RowCopy> const& ScheduledLayer::copies_of(int round) const {
  return round < num_rounds() ? steps_.rounds[to_size(round)].copies : steps_.commit;
}

void ScheduledLayer::copy_rows(int round, std::function<void()> const& before_each) {
  for (RowCopy const& copy : copies_of(round)) {
    if (copy.rank != group_.me) continue;
    before_each();
    if (verify_rows_) add_sums(copy.source_row);
    for (int t = 0; t < static_cast<int>(tensor_offset_.size()); ++t) {
      auto const from = row(t, copy.source_row);
      std::copy(from.begin(), from.end(), row(t, copy.target_row).begin());
    }
    if (verify_rows_)
      std::ranges::copy(sums_of(sums_, copy.source_row.index()), sums_of(sums_, copy.target_row.index()).begin());
    known_[copy.target_row.index()] = verify_rows_;
    written_[copy.target_row.index()] = true;
  }
}

void ScheduledLayer::verify_written() const {
  if (!verify_rows_) return;
  auto const after = schedule_.after.rank_slots(layer_, group_.me);
  for (LocalExpertId index(0); index.value() < num_slots_; ++index)
    if (written_[index.index()]) check_row(index, after[index.index()], "written");
}

std::int64_t ScheduledLayer::sends(int round) const {
  auto const& transfers = steps_.rounds[to_size(round)].transfers;
  return std::ranges::count(transfers, group_.me, &RowTransfer::from);
}

std::int64_t ScheduledLayer::receives(int round) const {
  auto const& transfers = steps_.rounds[to_size(round)].transfers;
  return std::ranges::count(transfers, group_.me, &RowTransfer::to);
}

std::int64_t ScheduledLayer::copies(int round) const {
  return std::ranges::count(copies_of(round), group_.me, &RowCopy::rank);
}

}  // namespace switchyard::cpu
