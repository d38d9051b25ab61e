// SPDX-License-Identifier: Apache-2.0
#include "staged_layer.hpp"

#include <algorithm>

#include "switchyard/internal/byte_checksum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

void copy_row(std::span<std::byte const> from, std::span<std::byte> to) {
  std::copy(from.begin(), from.end(), to.begin());
}

}  // namespace

StagedLayer::StagedLayer(RankTransfers const& transfers, GroupView const& group, RegisteredWeights const& weights,
                         int layer, bool verify_rows, std::span<std::byte> buffer)
    : transfers_(transfers),
      group_(group),
      weights_(weights),
      layer_(layer),
      num_tensors_(static_cast<int>(weights.layer(layer).size())),
      verify_rows_(verify_rows),
      expert_bytes_(weights.expert_bytes(layer)),
      buffer_(buffer) {
  std::int64_t offset = 0;
  for (WeightTensor const& tensor : weights.layer(layer)) {
    tensor_offset_.push_back(offset);
    offset += tensor.row_bytes;
  }
  if (!verify_rows_) return;
  sent_checksums_.resize(transfers_.sends.size() * tensor_offset_.size());
  received_checksums_.resize(transfers_.receives.size() * tensor_offset_.size());
  local_checksums_.resize(transfers_.local_copies.size() * tensor_offset_.size());
}

std::int64_t StagedLayer::staging_bytes(RankTransfers const& transfers, RegisteredWeights const& weights, int layer) {
  auto const rows = static_cast<std::int64_t>(transfers.local_copies.size() + transfers.receives.size());
  return checked_mul(rows, weights.expert_bytes(layer));
}

std::span<std::byte> StagedLayer::staged(std::size_t index, int tensor) const {
  auto const row_bytes = weights_.layer(layer_)[static_cast<std::size_t>(tensor)].row_bytes;
  std::int64_t const begin =
      static_cast<std::int64_t>(index) * expert_bytes_ + tensor_offset_[static_cast<std::size_t>(tensor)];
  return buffer_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(row_bytes));
}

std::size_t StagedLayer::num_rows() const noexcept {
  return transfers_.local_copies.size() + transfers_.receives.size();
}

LocalExpertId StagedLayer::target_row(std::size_t index) const {
  std::size_t const local = transfers_.local_copies.size();
  return index < local ? transfers_.local_copies[index].target_row : transfers_.receives[index - local].target_row;
}

void StagedLayer::copy_local() {
  auto const tensors = tensor_offset_.size();
  for (std::size_t i = 0; i < transfers_.local_copies.size(); ++i)
    for (int t = 0; t < num_tensors_; ++t) {
      auto const source = weights_.row(layer_, t, transfers_.local_copies[i].source_row);
      if (verify_rows_) local_checksums_[i * tensors + static_cast<std::size_t>(t)] = internal::byte_checksum(source);
      copy_row(source, staged(i, t));
    }
}

/// An expert that goes to several ranks is summed once: its sends follow each other.
void StagedLayer::add_checksums() {
  auto const tensors = tensor_offset_.size();
  for (std::size_t i = 0; i < transfers_.sends.size(); ++i) {
    bool const same_row = i > 0 && transfers_.sends[i].source_row == transfers_.sends[i - 1].source_row;
    for (std::size_t t = 0; t < tensors; ++t)
      sent_checksums_[i * tensors + t] =
          same_row ? sent_checksums_[(i - 1) * tensors + t]
                   : internal::byte_checksum(weights_.row(layer_, static_cast<int>(t), transfers_.sends[i].source_row));
  }
}

void StagedLayer::exchange(Communicator& comm, CallOptions const& options) {
  if (verify_rows_) add_checksums();
  auto const tensors = tensor_offset_.size();
  std::vector<SendMessage> sends;
  for (std::size_t i = 0; i < transfers_.sends.size(); ++i) {
    ExpertSend const& send = transfers_.sends[i];
    RankId const to = group_.rank_in_group(send.to);
    for (int t = 0; t < num_tensors_; ++t) sends.push_back({to, weights_.row(layer_, t, send.source_row)});
    if (verify_rows_) sends.push_back({to, std::as_bytes(std::span(sent_checksums_).subspan(i * tensors, tensors))});
  }
  std::vector<ReceiveMessage> receives;
  for (std::size_t i = 0; i < transfers_.receives.size(); ++i) {
    RankId const from = group_.rank_in_group(transfers_.receives[i].from);
    for (int t = 0; t < num_tensors_; ++t) receives.push_back({from, staged(transfers_.local_copies.size() + i, t)});
    if (verify_rows_)
      receives.push_back({from, std::as_writable_bytes(std::span(received_checksums_).subspan(i * tensors, tensors))});
  }
  comm.exchange(sends, receives, options);
}

void StagedLayer::verify() const {
  if (!verify_rows_) return;
  auto const tensors = tensor_offset_.size();
  for (std::size_t i = 0; i < transfers_.receives.size(); ++i) {
    ExpertReceive const& receive = transfers_.receives[i];
    for (std::size_t t = 0; t < tensors; ++t) {
      auto const row = staged(transfers_.local_copies.size() + i, static_cast<int>(t));
      std::uint64_t const arrived = internal::byte_checksum(row);
      std::uint64_t const sent = received_checksums_[i * tensors + t];
      SWITCHYARD_REQUIRE(arrived == sent, corrupt_data,
                         "layer {}, expert {}, tensor {}: {} bytes from rank {} for row {} of rank {} were sent with "
                         "checksum {:016x} and arrived with {:016x}; nothing of this layer was overwritten: repeat the "
                         "rebalance, and suspect memory or transport",
                         layer_, receive.expert.value(), t, row.size(), receive.from.value(),
                         receive.target_row.value(), group_.me.value(), sent, arrived);
    }
  }
}

void StagedLayer::write_row(std::size_t index) const {
  for (int t = 0; t < num_tensors_; ++t) copy_row(staged(index, t), weights_.row(layer_, t, target_row(index)));
}

void StagedLayer::write_duplicates() const {
  for (LocalCopy const& copy : transfers_.duplicates)
    for (int t = 0; t < num_tensors_; ++t)
      copy_row(weights_.row(layer_, t, copy.source_row), weights_.row(layer_, t, copy.target_row));
}

std::span<std::uint64_t const> StagedLayer::expected_sums(std::size_t index) const {
  auto const tensors = tensor_offset_.size();
  std::size_t const local = transfers_.local_copies.size();
  return index < local ? std::span(local_checksums_).subspan(index * tensors, tensors)
                       : std::span(received_checksums_).subspan((index - local) * tensors, tensors);
}

std::size_t StagedLayer::index_of_target(LocalExpertId row) const {
  std::size_t index = 0;
  while (target_row(index) != row) ++index;
  return index;
}

void StagedLayer::check_written(LocalExpertId row, ExpertId expert, std::span<std::uint64_t const> expected) const {
  for (std::size_t t = 0; t < expected.size(); ++t) {
    auto const bytes = weights_.row(layer_, static_cast<int>(t), row);
    std::uint64_t const found = internal::byte_checksum(bytes);
    SWITCHYARD_REQUIRE(found == expected[t], corrupt_data,
                       "layer {}, expert {}, tensor {}: {} bytes written in row {} of rank {} should have checksum "
                       "{:016x} and have {:016x}: something else writes these weights; load the row again",
                       layer_, expert.value(), t, bytes.size(), row.value(), group_.me.value(), expected[t], found);
  }
}

void StagedLayer::verify_written() const {
  if (!verify_rows_) return;
  std::size_t const local = transfers_.local_copies.size();
  for (std::size_t i = 0; i < num_rows(); ++i) {
    ExpertId const expert = i < local ? transfers_.local_copies[i].expert : transfers_.receives[i - local].expert;
    check_written(target_row(i), expert, expected_sums(i));
  }
  for (LocalCopy const& copy : transfers_.duplicates)
    check_written(copy.target_row, copy.expert, expected_sums(index_of_target(copy.source_row)));
}

std::int64_t StagedLayer::checksum_bytes() const noexcept {
  return static_cast<std::int64_t>((sent_checksums_.size() + received_checksums_.size() + local_checksums_.size()) *
                                   sizeof(std::uint64_t));
}

}  // namespace switchyard::cpu
