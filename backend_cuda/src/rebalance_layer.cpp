// SPDX-License-Identifier: Apache-2.0
#include "rebalance_layer.hpp"

#include "cuda_error.hpp"
#include "device_list.hpp"
#include "rebalance_checksum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

void copy_bytes(void* to, void const* from, std::int64_t bytes, StreamView stream) {
  SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(to, from, to_size(bytes), cudaMemcpyDeviceToDevice, stream.handle()));
}

}  // namespace

RebalanceLayer::RebalanceLayer(LayerMoves moves, RegisteredWeights const& weights, RankId me, bool verify_rows)
    : moves_(std::move(moves)),
      weights_(weights),
      me_(me),
      verify_rows_(verify_rows),
      num_tensors_(static_cast<int>(weights.layer(moves_.layer).size())),
      expert_bytes_(weights.expert_bytes(moves_.layer)),
      spare_(checked_mul(moves_.num_spare_rows, expert_bytes_)) {
  std::int64_t offset = 0;
  for (WeightTensor const& tensor : weights.layer(moves_.layer)) {
    tensor_offset_.push_back(offset);
    offset += tensor.row_bytes;
  }
  std::int64_t const rows = std::int64_t{moves_.num_slots} + moves_.num_spare_rows;
  written_.resize(to_size(moves_.num_slots), kNoExpert);
  known_.resize(to_size(rows), false);
  if (!verify_rows_) return;
  std::int64_t const bytes = checked_mul(checked_mul(rows, num_tensors_), sizeof(std::uint64_t));
  expected_ = DeviceBuffer(bytes);
  found_ = DeviceBuffer(bytes);
  clear_now({&expected_, &found_});  // the host gets them as whole lists
}

std::int64_t RebalanceLayer::extra_bytes() const noexcept {
  return spare_.size_bytes() + expected_.size_bytes() + found_.size_bytes();
}

std::byte* RebalanceLayer::row(int tensor, LocalExpertId row) const {
  if (row.value() < moves_.num_slots) return weights_.row(moves_.layer, tensor, row).data();
  return spare_.as<std::byte>() + (row.value() - moves_.num_slots) * expert_bytes_ + tensor_offset_[to_size(tensor)];
}

std::uint64_t* RebalanceLayer::sums_at(DeviceBuffer const& sums, LocalExpertId row) const {
  return sums.as<std::uint64_t>() + std::int64_t{row.value()} * num_tensors_;
}

void RebalanceLayer::sum_row(DeviceBuffer const& sums, LocalExpertId index, StreamView stream) const {
  auto const tensors = weights_.layer(moves_.layer);
  for (int t = 0; t < num_tensors_; ++t)
    launch_byte_checksum(row(t, index), tensors[to_size(t)].row_bytes, sums_at(sums, index) + t, stream);
}

/// A row that goes to several places is summed once.
void RebalanceLayer::know(LocalExpertId index, StreamView stream) {
  if (!known_[index.index()]) sum_row(expected_, index, stream);
  known_[index.index()] = true;
}

void RebalanceLayer::copy(std::span<OwnCopy const> copies, StreamView stream) {
  auto const tensors = weights_.layer(moves_.layer);
  for (OwnCopy const& copy : copies) {
    if (verify_rows_) know(copy.from, stream);
    for (int t = 0; t < num_tensors_; ++t)
      copy_bytes(row(t, copy.to), row(t, copy.from), tensors[to_size(t)].row_bytes, stream);
    if (verify_rows_)
      copy_bytes(sums_at(expected_, copy.to), sums_at(expected_, copy.from),
                 num_tensors_ * static_cast<std::int64_t>(sizeof(std::uint64_t)), stream);
    known_[copy.to.index()] = verify_rows_;
    if (copy.to.value() < moves_.num_slots) written_[copy.to.index()] = copy.expert;
  }
}

void RebalanceLayer::exchange(int round, DeviceCommunicator& comm, StreamView stream, CallOptions const& options,
                              bool keep) {
  RoundMoves const& moves = moves_.rounds[to_size(round)];
  auto const tensors = weights_.layer(moves_.layer);
  bool const sums_travel = verify_rows_ && keep;
  std::int64_t const sums_bytes = num_tensors_ * static_cast<std::int64_t>(sizeof(std::uint64_t));
  std::int64_t const scratch_bytes = checked_mul(static_cast<std::int64_t>(moves.receives.size()), expert_bytes_);
  if (!keep && scratch_.size_bytes() < scratch_bytes) scratch_ = DeviceBuffer(scratch_bytes);
  std::vector<DeviceSend> sends;
  for (RowSend const& send : moves.sends) {
    for (int t = 0; t < num_tensors_; ++t) sends.push_back({send.to, row(t, send.row), tensors[to_size(t)].row_bytes});
    if (!sums_travel) continue;
    know(send.row, stream);
    sends.push_back({send.to, sums_at(expected_, send.row), sums_bytes});
  }
  std::vector<DeviceReceive> receives;
  for (std::size_t i = 0; i < moves.receives.size(); ++i) {
    RowReceive const& receive = moves.receives[i];
    std::byte* const aside = scratch_.as<std::byte>() + static_cast<std::int64_t>(i) * expert_bytes_;
    for (int t = 0; t < num_tensors_; ++t)
      receives.push_back({receive.from, keep ? row(t, receive.row) : aside + tensor_offset_[to_size(t)],
                          tensors[to_size(t)].row_bytes});
    if (sums_travel) receives.push_back({receive.from, sums_at(expected_, receive.row), sums_bytes});
  }
  comm.exchange_on(stream, sends, receives, options);
  if (!keep) return;
  for (RowReceive const& receive : moves.receives) {
    known_[receive.row.index()] = verify_rows_;
    if (verify_rows_) sum_row(found_, receive.row, stream);
    if (receive.row.value() < moves_.num_slots) written_[receive.row.index()] = receive.expert;
  }
}

void RebalanceLayer::compare(LocalExpertId row, ExpertId expert, std::string const& origin,
                             std::span<std::uint64_t const> expected, std::span<std::uint64_t const> found) const {
  for (int t = 0; t < num_tensors_; ++t) {
    std::size_t const at = row.index() * to_size(num_tensors_) + to_size(t);
    SWITCHYARD_REQUIRE(expected[at] == found[at], corrupt_data,
                       "layer {}, expert {}, tensor {}: the bytes {} in row {} of rank {} should have checksum {:016x} "
                       "and have {:016x}; suspect memory or transport, or kernels that write weights meanwhile, and "
                       "load the row again",
                       moves_.layer, expert.value(), t, origin, row.value(), me_.value(), expected[at], found[at]);
  }
}

void RebalanceLayer::verify_arrivals(int round, StreamView stream) const {
  auto const& receives = moves_.rounds[to_size(round)].receives;
  if (!verify_rows_ || receives.empty()) return;
  auto const expected = download<std::uint64_t>(expected_, stream);
  auto const found = download<std::uint64_t>(found_, stream);
  for (RowReceive const& receive : receives)
    compare(receive.row, receive.expert, fmt::format("from rank {} of the group", receive.from.value()), expected,
            found);
}

void RebalanceLayer::verify_written(StreamView stream) {
  if (!verify_rows_) return;
  for (LocalExpertId row(0); row.value() < moves_.num_slots; ++row)
    if (written_[row.index()].valid()) sum_row(found_, row, stream);
  auto const expected = download<std::uint64_t>(expected_, stream);
  auto const found = download<std::uint64_t>(found_, stream);
  for (LocalExpertId row(0); row.value() < moves_.num_slots; ++row)
    if (written_[row.index()].valid()) compare(row, written_[row.index()], "written", expected, found);
}

}  // namespace switchyard::cuda
