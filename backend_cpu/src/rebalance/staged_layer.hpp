// SPDX-License-Identifier: Apache-2.0
/// StagedLayer: one rank's new rows of one layer before they are written, and the messages that bring them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/rebalance/expert_weights.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard::cpu {

/// Rows in staging: first the local copies, then the receives, in the plan's order; a row's tensors follow each other.
class StagedLayer {
 public:
  /// @param transfers and `weights` must outlive it. @param buffer staging_bytes(...) bytes for the rows.
  StagedLayer(RankTransfers const& transfers, ExpertWeights const& weights, int layer, bool verify_rows,
              std::span<std::byte> buffer);

  /// @return the bytes that the rows of a layer need in staging.
  [[nodiscard]] static std::int64_t staging_bytes(RankTransfers const& transfers, ExpertWeights const& weights,
                                                  int layer);

  void copy_local();
  /// One exchange for the layer: per send all tensors in order, then their checksums when rows are verified.
  void exchange(Communicator& comm, CallOptions const& options);
  /// @throws Error{corrupt_data} naming the first damaged row. @param me for the text.
  void verify(RankId me) const;

  [[nodiscard]] std::size_t num_rows() const noexcept;
  /// Writes staged row `index` to its place in the weights.
  void write_row(std::size_t index) const;
  /// Copies the freshly written primary rows to the further slots of their experts.
  void write_duplicates() const;

  [[nodiscard]] std::int64_t checksum_bytes() const noexcept;

 private:
  [[nodiscard]] std::span<std::byte> staged(std::size_t index, int tensor) const;
  [[nodiscard]] LocalExpertId target_row(std::size_t index) const;
  void add_checksums();

  RankTransfers const& transfers_;
  ExpertWeights const& weights_;
  int layer_;
  int num_tensors_;
  bool verify_rows_;
  std::int64_t expert_bytes_;
  std::vector<std::int64_t> tensor_offset_;
  std::span<std::byte> buffer_;
  std::vector<std::uint64_t> sent_checksums_;      // [sends][tensors]
  std::vector<std::uint64_t> received_checksums_;  // [receives][tensors]
};

}  // namespace switchyard::cpu
