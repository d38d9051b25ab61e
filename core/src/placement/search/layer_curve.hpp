// SPDX-License-Identifier: Apache-2.0
/// trace_curve: the trade-off between moves and balance of one layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "layer_state.hpp"
#include "switchyard/placement/incremental.hpp"

namespace switchyard::placement {

struct LayerTask {
  Cluster const* cluster;
  SlotFigures* figures;
  std::vector<std::size_t> current;  // [slots] slots of dead ranks are kNone
  std::size_t slots_to_fill;
  double lower_bound;  // 0: the mean figure of the placement in use, or what a rank without slots takes
  bool may_empty;
  std::int64_t duplicate_fetches = 0;  // the most that may be spent on removing duplicates; 0: they are left alone
};

/// @return the fetches that repairing the placement in use takes.
[[nodiscard]] std::int64_t forced_fetches(LayerTask const& task);

/// @return how many slots of a placement repeat an expert on their rank.
[[nodiscard]] int count_duplicates(LayerTask const& task, std::vector<ExpertId> const& slots);

/// @return everything of IncrementalLayer except `chosen`, `gain_seconds` and `duplicates_left`; duplicates_kept is
///         what keeps the duplicates of the first point.
[[nodiscard]] IncrementalLayer trace_curve(LayerTask const& task, IncrementalOptions const& options);

/// Adds a placement found otherwise to the curve, unless a limit on the layer forbids it or a point with as few moves
/// is as good; points that it outdoes leave.
void offer_point(LayerTask const& task, IncrementalOptions const& options, std::vector<ExpertId> const& slots,
                 IncrementalLayer& layer);

/// The fetches of a point, with senders. @pre the point is on the curve of the same task and options.
[[nodiscard]] std::vector<PlannedFetch> fetches_of(LayerTask const& task, IncrementalOptions const& options, int layer,
                                                   std::vector<ExpertId> const& slots);

}  // namespace switchyard::placement
