// SPDX-License-Identifier: Apache-2.0
/// ScheduledLayer: one rank's rows of one layer, slots and spare rows, while a schedule's rounds run over them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "group_view.hpp"
#include "switchyard/comm/communicator.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"
#include "switchyard/rebalance/registered_weights.hpp"

namespace switchyard::cpu {

class ScheduledLayer {
 public:
  /// Allocates the spare rows. @param schedule, group and `weights` must outlive it.
  /// @throws Error{out_of_memory} with the size.
  ScheduledLayer(RebalanceSchedule const& schedule, int layer, GroupView const& group, RegisteredWeights const& weights,
                 bool verify_rows);

  [[nodiscard]] int layer() const noexcept { return layer_; }
  [[nodiscard]] int num_rounds() const noexcept { return static_cast<int>(steps_.rounds.size()); }
  [[nodiscard]] std::int64_t expert_bytes() const noexcept { return expert_bytes_; }
  /// Spare rows and checksums.
  [[nodiscard]] std::int64_t extra_bytes() const noexcept;

  /// @param keep false: arriving rows go to scratch memory instead of their rows (profile).
  void exchange(int round, Communicator& comm, CallOptions const& options, bool keep);
  /// @throws Error{corrupt_data} naming the first row of the round that arrived damaged.
  void verify_arrivals(int round) const;
  /// This rank's copies of a round, or of the commit for round = num_rounds(); calls `before_each` before every one.
  void copy_rows(int round, std::function<void()> const& before_each);
  /// @throws Error{corrupt_data} naming the first slot that does not hold what was written.
  void verify_written() const;

  [[nodiscard]] std::int64_t sends(int round) const;
  [[nodiscard]] std::int64_t receives(int round) const;
  [[nodiscard]] std::int64_t copies(int round) const;
  /// A slot or spare row.
  [[nodiscard]] std::span<std::byte> row(int tensor, LocalExpertId row) const;

 private:
  using Sums = std::span<std::uint64_t>;
  [[nodiscard]] Sums sums_of(std::vector<std::uint64_t>& sums, std::size_t row) const;
  [[nodiscard]] std::vector<RowCopy> const& copies_of(int round) const;
  void add_sums(LocalExpertId row);
  void check_row(LocalExpertId row, ExpertId expert, std::string const& origin) const;

  RebalanceSchedule const& schedule_;
  LayerSchedule const& steps_;
  int layer_;
  GroupView const& group_;
  RegisteredWeights const& weights_;
  bool verify_rows_;
  int num_slots_;
  std::int64_t expert_bytes_;
  std::int64_t num_spare_rows_ = 0;
  std::vector<std::int64_t> tensor_offset_{};
  std::unique_ptr<std::byte[]> spare_{};
  std::vector<std::byte> scratch_{};
  std::vector<std::uint64_t> sums_{};  // [rows][tensors]
  std::vector<bool> known_{};          // [rows] whether sums_ is what the row must hold
  std::vector<bool> written_{};        // [rows]
};

}  // namespace switchyard::cpu
