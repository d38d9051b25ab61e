// SPDX-License-Identifier: Apache-2.0
/// RebalanceLayer: one rank's rows of one layer on the device, slots and spare rows, while they move.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rebalance_moves.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/rebalance/registered_weights.hpp"

namespace switchyard::cuda {

class RebalanceLayer {
 public:
  /// Allocates spare rows and checksums. @param weights outlive it. @param me the rank in the plan, for messages.
  /// @throws Error{out_of_memory}
  RebalanceLayer(LayerMoves moves, RegisteredWeights const& weights, RankId me, bool verify_rows);

  [[nodiscard]] LayerMoves const& moves() const noexcept { return moves_; }
  [[nodiscard]] int num_rounds() const noexcept { return static_cast<int>(moves_.rounds.size()); }
  [[nodiscard]] std::int64_t expert_bytes() const noexcept { return expert_bytes_; }
  /// Spare rows and checksums.
  [[nodiscard]] std::int64_t extra_bytes() const noexcept;

  /// Issues copies, and the sums that belong to them, in `stream`.
  void copy(std::span<OwnCopy const> copies, StreamView stream);
  /// Issues the round's messages and the sums of what arrives. @param keep false: rows arrive in scratch memory.
  void exchange(int round, DeviceCommunicator& comm, StreamView stream, CallOptions const& options, bool keep);
  /// After the stream passed exchange(). @throws Error{corrupt_data} naming the first row that arrived damaged.
  void verify_arrivals(int round, StreamView stream) const;
  /// Waits for the stream. @throws Error{corrupt_data} naming the first slot that does not hold what was written.
  void verify_written(StreamView stream);

 private:
  [[nodiscard]] std::byte* row(int tensor, LocalExpertId row) const;
  [[nodiscard]] std::uint64_t* sums_at(DeviceBuffer const& sums, LocalExpertId row) const;
  void sum_row(DeviceBuffer const& sums, LocalExpertId row, StreamView stream) const;
  void know(LocalExpertId row, StreamView stream);
  void compare(LocalExpertId row, ExpertId expert, std::string const& origin, std::span<std::uint64_t const> expected,
               std::span<std::uint64_t const> found) const;

  LayerMoves moves_;
  RegisteredWeights const& weights_;
  RankId me_;
  bool verify_rows_;
  int num_tensors_;
  std::int64_t expert_bytes_;
  std::vector<std::int64_t> tensor_offset_{};
  DeviceBuffer spare_{};
  DeviceBuffer scratch_{};
  DeviceBuffer expected_{};          // [rows][tensors] what a row must sum to
  DeviceBuffer found_{};             // [rows][tensors] what it summed to after it was written
  std::vector<bool> known_{};        // [rows] whether expected_ is there
  std::vector<ExpertId> written_{};  // [slots] what was written, or -1
};

}  // namespace switchyard::cuda
