// SPDX-License-Identifier: Apache-2.0
/// FetchCount: which experts every rank has to fetch to get from where a search started to where it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "change.hpp"
#include "layer_state.hpp"

namespace switchyard::placement {

/// A rank fetches an expert that it holds now and did not hold at the start, once however many slots it takes.
class FetchCount {
 public:
  /// Nothing is fetched yet.
  explicit FetchCount(LayerState const& start);

  [[nodiscard]] std::int64_t total() const { return total_; }
  [[nodiscard]] std::int64_t of_rank(std::size_t rank) const { return per_rank_[rank]; }
  /// What a change would add; negative when an expert comes home.
  [[nodiscard]] std::int64_t added_by(LayerState const& state, Change const& change) const;
  /// The same for one slot of `rank` that gives up `old` for `expert`.
  [[nodiscard]] std::int64_t added(std::size_t rank, std::size_t old, std::size_t expert) const {
    return (is_foreign(rank, expert) ? 1 : 0) - (is_foreign(rank, old) ? 1 : 0);
  }
  /// To be called before the change is applied.
  void add(LayerState const& state, Change const& change);
  /// @return the count of another state that came from the same start.
  [[nodiscard]] FetchCount recounted(LayerState const& state) const;
  /// (rank, expert) pairs to fetch, ascending.
  [[nodiscard]] std::vector<std::pair<std::size_t, std::size_t>> list(LayerState const& state) const;
  /// Serving ranks that held an expert at the start, ascending.
  [[nodiscard]] std::vector<std::size_t> const& homes(std::size_t expert) const { return homes_[expert]; }

 private:
  [[nodiscard]] bool is_foreign(std::size_t rank, std::size_t expert) const {
    return expert != kNone && at_start_[rank * num_experts_ + expert] == 0;
  }

  std::size_t num_experts_;
  std::vector<std::uint8_t> at_start_;  // [ranks * experts]
  std::vector<std::vector<std::size_t>> homes_;
  std::vector<std::int64_t> per_rank_;
  std::int64_t total_ = 0;
};

}  // namespace switchyard::placement
