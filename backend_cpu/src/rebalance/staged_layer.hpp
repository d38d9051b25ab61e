// SPDX-License-Identifier: Apache-2.0
/// StagedLayer: one rank's new rows of one layer before they are written, and the messages that bring them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "group_view.hpp"
#include "switchyard/comm/communicator.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/registered_weights.hpp"

namespace switchyard::cpu {

/// Rows in staging: first the local copies, then the receives, in the plan's order; a row's tensors follow each other.
class StagedLayer {
 public:
  /// @param transfers, `group` and `weights` must outlive it. @param buffer staging_bytes(...) bytes for the rows.
  StagedLayer(RankTransfers const& transfers, GroupView const& group, RegisteredWeights const& weights, int layer,
              bool verify_rows, std::span<std::byte> buffer);

  /// @return the bytes that the rows of a layer need in staging.
  [[nodiscard]] static std::int64_t staging_bytes(RankTransfers const& transfers, RegisteredWeights const& weights,
                                                  int layer);

  void copy_local();
  /// One exchange for the layer: per send all tensors in order, then their checksums when rows are verified.
  void exchange(Communicator& comm, CallOptions const& options);
  /// @throws Error{corrupt_data} naming the first row that arrived damaged.
  void verify() const;

  [[nodiscard]] std::size_t num_rows() const noexcept;
  /// Writes staged row `index` to its place in the weights.
  void write_row(std::size_t index) const;
  /// Copies the freshly written primary rows to the further slots of their experts.
  void write_duplicates() const;
  /// Compares every written slot with what was sent, or read from a local row.
  /// @throws Error{corrupt_data} naming the first slot that differs.
  void verify_written() const;

  [[nodiscard]] int layer() const noexcept { return layer_; }
  [[nodiscard]] std::int64_t checksum_bytes() const noexcept;

 private:
  [[nodiscard]] std::span<std::byte> staged(std::size_t index, int tensor) const;
  [[nodiscard]] LocalExpertId target_row(std::size_t index) const;
  void add_checksums();
  /// The checksums that staged row `index` must have. [tensors]
  [[nodiscard]] std::span<std::uint64_t const> expected_sums(std::size_t index) const;
  void check_written(LocalExpertId row, ExpertId expert, std::span<std::uint64_t const> expected) const;
  [[nodiscard]] std::size_t index_of_target(LocalExpertId row) const;

  RankTransfers const& transfers_;
  GroupView const& group_;
  RegisteredWeights const& weights_;
  int layer_;
  int num_tensors_;
  bool verify_rows_;
  std::int64_t expert_bytes_;
  std::vector<std::int64_t> tensor_offset_;
  std::span<std::byte> buffer_;
  std::vector<std::uint64_t> sent_checksums_;      // [sends][tensors]
  std::vector<std::uint64_t> received_checksums_;  // [receives][tensors]
  std::vector<std::uint64_t> local_checksums_;     // [local copies][tensors]
};

}  // namespace switchyard::cpu
