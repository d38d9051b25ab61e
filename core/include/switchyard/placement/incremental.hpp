// SPDX-License-Identifier: Apache-2.0
/// The policy "incremental": from the placement in use to a better one with few moves, and the whole trade-off.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/placement/problem.hpp"

namespace switchyard {

/// What a move may cost. A move is a fetch: a rank gets an expert that it does not hold, once per layer however many
/// slots it takes there; copies inside a rank are free. Absent = no limit; 0 = nothing may move.
struct MoveLimits {
  std::optional<std::int64_t> max_moves{};  ///< over all layers
  std::optional<std::int64_t> max_bytes{};  ///< over all layers; needs TransferCosts::expert_bytes
  std::optional<std::int64_t> max_moves_per_layer{};
  std::optional<std::int64_t> max_receives_per_rank{};  ///< per layer
  std::optional<std::int64_t> max_sends_per_rank{};     ///< per layer
  std::optional<std::int64_t> max_moves_per_link{};     ///< per layer and ordered pair of ranks
};

/// What a move takes, and what a better balance is worth.
struct TransferCosts {
  std::int64_t expert_bytes = 0;        ///< all tensors of one expert of one layer
  double local_bytes_per_second = 0;    ///< of a rank to and from ranks of its node, each direction
  double network_bytes_per_second = 0;  ///< of a rank to and from other nodes
  /// Worth of the new placement: (old - new largest rank figure of a layer) * seconds_per_figure per step, for
  /// horizon_steps steps. A horizon of 0 weighs nothing: the goal alone decides.
  double horizon_steps = 0;
  double seconds_per_figure = 0;
};

struct IncrementalOptions {
  MoveLimits limits{};
  TransferCosts costs{};
  /// A layer is good enough when its largest rank figure is at most this times its lower bound (for tokens the mean or
  /// the min-max replica load; else the mean figure of the placement in use): no more moves are looked for.
  double goal_ratio = 1.003;
  /// Leave slots that repeat an expert on their rank as they are, unless changing them helps the balance.
  bool keep_duplicates = false;
  int max_sweeps = 8;  ///< thresholds tried per layer, from coarse to the goal; more find better points at equal moves
};

/// One expert to fetch. `from` is -1 when no live rank holds the expert: it must be loaded from elsewhere.
struct PlannedFetch {
  int layer = 0;
  ExpertId expert{0};
  RankId from{0};
  RankId to{0};
  friend bool operator==(PlannedFetch const&, PlannedFetch const&) = default;
};

/// A placement of one layer on its trade-off between moves and balance.
struct CurvePoint {
  std::int64_t moves = 0;
  double max_figure = 0;        ///< largest rank figure, as measure_objective() gives it
  double transfer_seconds = 0;  ///< the slowest rank's transfers over its links; 0 without bandwidths
  std::vector<ExpertId> slots;  ///< [slots]
};

/// Why a chosen placement repeats an expert on a rank.
enum class DuplicatesKept : std::uint8_t {
  none,             ///< it does not
  move_limits,      ///< getting rid of them would exceed a limit on moves
  no_legal_change,  ///< nothing else may stand there: node limits, or every expert is on the rank already
  horizon,          ///< with a horizon a duplicate goes only when that pays
  asked,            ///< keep_duplicates
};
[[nodiscard]] std::string_view to_string(DuplicatesKept reason) noexcept;

/// What was chosen in one layer.
struct IncrementalLayer {
  double lower_bound = 0;     ///< what goal_ratio refers to
  double current_figure = 0;  ///< of the placement in use; experts without a live slot carry nothing
  double gain_seconds = 0;    ///< over the horizon
  std::int32_t chosen = 0;    ///< index into the curve
  int duplicates_before = 0;  ///< slots of the placement in use that repeat an expert on their rank
  int duplicates_left = 0;    ///< slots of the chosen placement that do
  DuplicatesKept duplicates_kept = DuplicatesKept::none;
  std::int64_t forced_moves =
      0;  ///< to repair the placement in use, made whatever the limits say; a point of the curve may do with fewer
  std::vector<CurvePoint> curve{};  ///< moves strictly rising, max_figure strictly falling; front: fewest moves
};

struct IncrementalResult {
  ExpertPlacement placement;
  std::vector<IncrementalLayer> layers;
  std::vector<PlannedFetch> fetches;  ///< ascending by (layer, to, expert); sources within the caps
};

/// Improves request.current. Per layer: towards a falling sequence of thresholds, the hottest rank exchanges slots or
/// replicas change experts, whichever cools most per fetch; every state on the way is a point of the curve if no other
/// has as few moves and a lower figure. Chosen is the point with the largest gain minus transfer time (with a horizon),
/// else the first that meets the goal, else the last; then the limits over all layers hand out moves to the layers
/// whose figure falls most per move. Slots that keep their expert stay in place.
///
/// Where single changes end more than 1 % above the goal although moves are left, a plan of the policy balanced,
/// renamed for few moves, ends the curve if it is better by 1 % (not with node limits).
///
/// Slots that repeat an expert on their rank serve nobody: without a horizon they are given to other experts first, as
/// far as the limits on moves reach (layers ascending), whether that helps the balance or not, and every curve begins
/// behind that. duplicates_left says what remains and duplicates_kept why. None is added.
///
/// Honours every part of the request. Empty slots are filled when that helps. A current placement that the request does
/// not admit is repaired first, and the moves that takes are counted as forced: slots outside node limits are given up
/// (a group or expert keeps the nodes where it has most), experts without a live slot get one, surplus slots are
/// emptied; a layer whose nodes are too full for that is placed anew.
/// @throws Error{invalid_argument} without a current placement, for a negative limit, or a limit in bytes without
///         expert_bytes; Error{shape_mismatch} when the current placement has other ranks or slots than the request;
///         as validate(PolicyRequest).
/// @note pure and deterministic; O(layers * sweeps * moves * slots * slots per rank).
[[nodiscard]] IncrementalResult improve_placement(ExpertLoad const& load, PolicyRequest const& request,
                                                  IncrementalOptions const& options = {});

/// A point of the whole plan's trade-off.
struct PlanPoint {
  std::int64_t moves = 0;
  double total_figure = 0;                 ///< sum over layers of the largest rank figure: what a step waits for
  std::vector<std::int32_t> layer_points;  ///< [layers] index into each layer's curve
};

/// @return points of rising moves and falling total figure, from the forced moves to every layer's last point: each
/// step
///         advances the layer whose figure falls most per move.
[[nodiscard]] std::vector<PlanPoint> pareto_points(IncrementalResult const& result);
/// @return the placement of a point. @throws Error{invalid_argument} for an index outside a curve.
[[nodiscard]] ExpertPlacement placement_at(IncrementalResult const& result, PlanPoint const& point);

}  // namespace switchyard
