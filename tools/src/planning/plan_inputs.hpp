// SPDX-License-Identifier: Apache-2.0
/// PlanInputs: what `plan` and `backtest` read from the command line and from files before anything is planned.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/options.hpp"
#include "switchyard/io/load_reader.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/policy.hpp"
#include "switchyard/rebalance/rank_mapping.hpp"
#include "switchyard/rebalance/reachable_plan.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"

namespace switchyard::cli {

inline constexpr int kMaxRanks = 1 << 16;
inline constexpr int kMaxSlots = 1 << 24;

struct PlanInputs {
  io::LoadReadResult source;
  std::string load_name;
  PolicyRequest request;     ///< without the current placement; see request_for()
  ExpertPlacement before;    ///< what is being served, in its own ranks
  bool has_current = false;  ///< given, not assumed
  RankMapping mapping{};
  std::vector<RankId> dead_in_group{};  ///< GPUs that can neither send nor receive, as the group that moves counts
  std::int64_t expert_bytes = 0;        ///< all tensors of one expert of one layer
  LinkRates rates{};
};

/// @return the options of the load, the cluster and the price of a move, which both commands share.
[[nodiscard]] OptionTable load_options();
[[nodiscard]] OptionTable cluster_options();
[[nodiscard]] OptionTable price_options();

/// @return sizes and optional parts for `num_layers` layers. @throws UsageError for what contradicts itself.
[[nodiscard]] PolicyRequest request_of(ParsedOptions const& options);
[[nodiscard]] LinkRates rates_of(ParsedOptions const& options);
[[nodiscard]] PlanInputs read_inputs(ParsedOptions const& options);

/// @return the request with the current placement if this policy takes it into account.
[[nodiscard]] PolicyRequest request_for(PlacementPolicy const& policy, PlanInputs const& inputs);

/// A placement that a serving system could run on. @throws UsageError naming the file and the first broken rule.
[[nodiscard]] ExpertPlacement read_served(std::string const& file, int num_experts, int num_ranks);

/// @return the request that `placement` is judged by: without dead ranks when it still uses them, because it is from
/// before they died, and with its own sizes when it is for another number of ranks.
[[nodiscard]] PolicyRequest request_served(PolicyRequest request, ExpertPlacement const& placement);

/// The imbalance of a placement under the request's speeds and dead ranks: PAR is then the largest time of a serving
/// rank over the even one. Without them it is measure_imbalance(). Judged by request_served().
[[nodiscard]] ImbalanceReport judge(ExpertLoad const& load, ExpertPlacement const& placement,
                                    PolicyRequest const& request);

/// A move with its transfers: what the living ranks can do, and what must be reloaded.
struct PlannedMove {
  RebalancePlan plan;
  std::vector<Reload> reloads{};
};
[[nodiscard]] PlannedMove plan_move(PlanInputs const& inputs, ExpertPlacement const& after);
/// The same move in rounds.
[[nodiscard]] RebalanceSchedule schedule_move(PlanInputs const& inputs, ExpertPlacement const& after);

}  // namespace switchyard::cli
