// SPDX-License-Identifier: Apache-2.0
/// plan_schedule(): from two placements to rounds of transfers.
#pragma once

#include <optional>

#include "switchyard/rebalance/rebalance_schedule.hpp"
#include "switchyard/types/topology.hpp"

namespace switchyard {

enum class SenderRule {
  balanced,    ///< by topology and load: a rank of the same node first, then the least loaded holder
  compatible,  ///< vLLM's arithmetic (plan_rebalance), put into rounds; needs full buffering
};
enum class MissingExperts {
  refuse,  ///< an expert that no living rank holds is an error
  reload,  ///< its slots go into the schedule's reload list and stay empty
};

struct ScheduleOptions {
  std::optional<Topology> topology{};  ///< of the whole group; absent = all links are alike
  LinkRates rates{};                   ///< with a topology: how many transfers inside a node fit into one network round
  std::int64_t expert_bytes = 0;       ///< of the largest layer, for the stated bytes and times; 0 = not known
  int spare_rows = ScheduleLimits::kFullyBuffered;  ///< per rank; at least 1, because cycles need one
  int max_transfers_per_round = 0;                  ///< of the whole group; 0 = no limit
  bool forwarding = true;                           ///< a rank may pass on what it has received in an earlier round
  SenderRule senders = SenderRule::balanced;
  std::vector<RankId> dead_ranks{};  ///< in the group's slot space: they neither send nor receive
  MissingExperts missing = MissingExperts::refuse;
};

/// Schedules the move.
///
/// Fully buffered (the default), one tier of links: every copy comes from a rank that holds the expert; senders are
/// chosen so that the largest number of sends is least (a witness set proves it), and rounds are a colouring of the
/// transfers' bipartite graph with exactly as many colours as the busiest rank sends or receives (Koenig), or as the
/// limit of transfers per round demands if that is more. Where a few holders would have to send to many, forwarding may
/// need fewer rounds still; the better of the two is taken.
///
/// Two tiers: an expert crosses the network once per node that lacks it, to one of the ranks that need it there, and is
/// passed on inside the node; a node that holds it uses no network.
///
/// With fewer spare rows a row is overwritten as soon as its expert is safe elsewhere, and rounds are built one by one
/// by matching. One spare row always suffices. The schedule states rounds, bound and rows used.
///
/// @throws Error{shape_mismatch}, Error{invalid_argument}, Error{invalid_placement}, Error{missing_source} as
///         plan_rebalance(); Error{invalid_argument} also for a topology of another number of ranks, rates or limits
///         below their range, or `compatible` without full buffering.
/// @note pure; equal arguments give equal schedules. About O(transfers * ranks) per layer at worst, near
///       O(transfers log) in practice (docs/rebalance.md has times).
[[nodiscard]] RebalanceSchedule plan_schedule(ExpertPlacement const& before, ExpertPlacement const& after,
                                              RankMapping const& mapping = {}, ScheduleOptions const& options = {});

}  // namespace switchyard
