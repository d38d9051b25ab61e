// SPDX-License-Identifier: Apache-2.0
/// Lower bounds that no plan can beat: on the largest rank load, on the rows that must move, on the rounds that takes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/placement/problem.hpp"

namespace switchyard {

/// @return the speed of every rank of `request`, 0 for a dead one: what the functions below take as `speeds`.
[[nodiscard]] std::vector<double> serving_speeds(PolicyRequest const& request);

/// Bounds on the largest rank load of one layer, beside what a placement achieves. Unit: load divided by speed, so
/// tokens when no speeds are given. Every bound is at most `achieved`.
struct BalanceBounds {
  double achieved = 0;  ///< largest rank load over speed when every replica carries an even share
  double mean = 0;      ///< all load over all speed: the ranks' work cannot shrink
  /// Min-max replica load over the fastest speed: every placement in as many slots has a replica at least this large.
  double largest_replica = 0;
  /// The rank of the largest replica has further slots; the least that can stand in them, over all replica counts.
  /// Holds for placements that fill every slot and put no expert twice on a rank; 0 when this one is none of those.
  double largest_replica_in_company = 0;
  double even_split = 0;  ///< the largest of the three bounds above
  /// The smallest largest rank load when the load of every expert may be split over its replicas in any proportion:
  /// a bound for this placement under every routing rule. 0 when not asked for.
  double fractional_split = 0;
};

/// @param load [experts] loads of `layer`, finite, not negative.
/// @param speeds [ranks] relative speeds; 0 = a rank that serves nothing (dead). Empty: all 1.
/// @param with_fractional also solve the split, exactly (fractional_split()).
/// @throws Error{shape_mismatch} for wrong lengths, Error{invalid_argument} for a speed that is negative or not finite,
///         Error{invalid_placement} if an expert with load has no slot on a rank that serves.
/// @note pure; O(slots log slots + experts * candidate replica loads), without the fractional split.
[[nodiscard]] BalanceBounds balance_bounds(std::span<double const> load, ExpertPlacement const& placement, int layer,
                                           std::span<double const> speeds = {}, bool with_fractional = false);

/// The optimum of splitting every expert's load over the ranks that hold it.
struct FractionalSplit {
  double max_load = 0;            ///< largest rank load over speed at the optimum
  std::vector<double> slot_load;  ///< [slots] what each slot carries in one optimum; a second slot of a rank gets 0
};

/// Minimises the largest rank load over speed when loads may be split over replicas in any proportion. Exact for
/// integer loads and speeds while (sum of loads) * (sum of speeds) < 2^61; otherwise loads are rounded down and speeds
/// up to as many bits, so that the result stays a lower bound (relative error below 2^-20 for 4,096 ranks).
/// @param load, speeds, errors as balance_bounds().
/// @note pure. The largest ratio load(S) / speed(ranks that hold S) over sets S of experts, found by Newton's iteration
///       on minimum cuts (Dinic): a handful of maximum flows.
[[nodiscard]] FractionalSplit fractional_split(std::span<double const> load, ExpertPlacement const& placement,
                                               int layer, std::span<double const> speeds = {});

/// Bounds on moving one layer from one placement to another. Unit: expert rows.
struct MigrationBounds {
  std::int64_t fetches = 0;  ///< (expert, rank) pairs of the target that the rank does not hold: rows over the network
  /// Fewest fetches when ranks with equally many slots and equal speed may swap their target contents: exact, by
  /// assignment.
  std::int64_t fewest_fetches = 0;
  std::int64_t replica_floor =
      0;  ///< sum over experts of the copies it gains: no placement with these counts moves less
  std::int64_t max_receives = 0;   ///< largest number of fetches of one rank
  std::int64_t min_max_sends = 0;  ///< smallest possible largest number of sends of a rank over all choices of senders
  std::int64_t rounds = 0;         ///< max of the two: one send and one receive per rank and round
};

/// @param before, after placements of the same layers and experts over the same ranks. An expert nobody holds before
///        cannot be sent and counts as a fetch only.
/// @param speeds as balance_bounds(): a rank of speed 0 neither sends nor takes part in the assignment.
/// @throws Error{shape_mismatch} when sizes differ.
/// @note pure; fewest_fetches takes O(ranks * pairs * log(pairs)) in the worst case, pairs of ranks that share experts.
[[nodiscard]] MigrationBounds migration_bounds(ExpertPlacement const& before, ExpertPlacement const& after, int layer,
                                               std::span<double const> speeds = {});

/// Renames the ranks of `target` so that the fewest rows have to be fetched from `current`, and keeps in its slot every
/// expert that stays on its rank. Loads per rank are permuted, so PAR does not change.
/// @param num_nodes > 1: only ranks of one node (consecutive ranks) swap contents, so that a node keeps its experts.
/// @throws Error{shape_mismatch} when sizes differ, Error{invalid_argument} unless num_nodes divides the ranks.
/// @note pure; O(layers * ranks * pairs * log(pairs)) in the worst case, pairs of ranks that share experts. DeepSeek's
/// authors suggest this step (deepseek-ai/EPLB #25).
[[nodiscard]] ExpertPlacement relabel_ranks(ExpertPlacement const& current, ExpertPlacement const& target,
                                            std::span<double const> speeds = {}, int num_nodes = 1);

}  // namespace switchyard
