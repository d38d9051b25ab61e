// SPDX-License-Identifier: Apache-2.0
/// MoveAllotment: hands moves to the layers whose figure falls most per move.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/placement/incremental.hpp"

namespace switchyard::placement {

/// Starts with every layer at its first point and advances one layer at a time, over the corners of the convex hull of
/// its curve, up to `last`.
class MoveAllotment {
 public:
  /// @param last [layers] the point of each curve that is not passed.
  MoveAllotment(std::span<IncrementalLayer const> layers, std::vector<std::int32_t> last);

  /// Advances the layer with the steepest fall, the lowest on a tie, among those whose next corner keeps the total
  /// within `max_moves`. @return false when there is none.
  bool advance(std::int64_t max_moves);
  [[nodiscard]] PlanPoint const& point() const { return point_; }

 private:
  /// The corner after `from`: the steepest fall per move, the farthest on a tie; `from` itself at the end.
  [[nodiscard]] std::int32_t next_corner(std::size_t layer, std::int32_t from, std::int64_t max_added) const;
  [[nodiscard]] CurvePoint const& at(std::size_t layer, std::int32_t index) const;
  [[nodiscard]] double steepness(std::size_t layer, std::int32_t from, std::int32_t to) const;

  std::span<IncrementalLayer const> layers_;
  std::vector<std::int32_t> last_;
  PlanPoint point_{};
};

}  // namespace switchyard::placement
