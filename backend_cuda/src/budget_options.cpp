// SPDX-License-Identifier: Apache-2.0
// What a plan with slots of fixed size is made from, and how ranks find out that theirs differ.
#include <algorithm>
#include <vector>

#include "budget_lists.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {

void require_budget_options(BudgetOptions const& options, ExpertPlacement const& placement) {
  DevicePlannerConfig const& config = options.planner;
  SWITCHYARD_REQUIRE(config.grid.tp >= 1 && config.grid.ep >= 1 && config.grid.world() <= kMostBudgetRanks, unsupported,
                     "slots of fixed size for tp {} x ep {}: at most {} ranks exchange; use a DevicePlan",
                     config.grid.tp, config.grid.ep, kMostBudgetRanks);
  SWITCHYARD_REQUIRE(config.restore == ChunkRestore::inverse, unsupported,
                     "slots of fixed size carry {} rows restored as {}: megatron_seed needs a DevicePlan",
                     to_string(config.family), to_string(config.restore));
  bool const is_megablocks = config.family == DispatchFamily::megablocks;
  SWITCHYARD_REQUIRE(!is_megablocks || (config.grid.ep > 1 && placement.layout().num_ranks() == config.grid.ep),
                     unsupported,
                     "slots of fixed size for MegaBlocks with {} expert blocks on {} ranks: one rank fills bins from "
                     "its tokens without an exchange, and hidden shards add rows at their source: use a DevicePlan",
                     placement.layout().num_ranks(), config.grid.ep);
  SWITCHYARD_REQUIRE(options.max_row_bytes > 0 && options.carried_rows >= 0 && options.single_rows >= 0,
                     invalid_argument,
                     "slots of {} carried and {} single rows of {} bytes: rows need bytes, and sizes must not be "
                     "negative",
                     options.carried_rows, options.single_rows, options.max_row_bytes);
  SWITCHYARD_REQUIRE(placement.layout().num_ranks() == config.grid.ep, shape_mismatch,
                     "a placement over {} ranks for an EP group of {}", placement.layout().num_ranks(), config.grid.ep);
}

BudgetOptions completed_options(BudgetOptions options, ExpertPlacement const& placement, std::int64_t columns) {
  std::int64_t const tokens = std::max<std::int64_t>(1, options.planner.max_tokens);
  if (moves_single_rows(options.planner.family)) {
    bool const is_dense = options.planner.form == RoutingForm::dense || options.planner.capacity.has_value();
    std::int64_t most_slots = 1;
    for (int rank = 0; rank < options.planner.grid.ep; ++rank)
      most_slots = std::max<std::int64_t>(most_slots, placement.layout().slots_of(RankId{rank}));
    std::int64_t const of_token = is_dense ? std::min(columns, most_slots) : columns;
    if (options.single_rows == 0) options.single_rows = checked_mul(tokens, of_token);
    options.carried_rows = 0;
  } else if (options.carried_rows == 0) {
    options.carried_rows = tokens;
  }
  std::int64_t const widest = std::max(options.single_rows, options.carried_rows);
  SWITCHYARD_REQUIRE(checked_mul(2 * options.planner.grid.world(), widest) <= INT32_MAX, unsupported,
                     "slots of {} rows for {} ranks: at most 2^31 rows stand in all slots of a rank", widest,
                     options.planner.grid.world());
  return options;
}

namespace {

/// What ranks compare, by name.
struct Fact {
  char const* name;
  std::int64_t value;
};
std::vector<Fact> facts_of(BudgetOptions const& options, DevicePlanner const& planner) {
  return {{"a planner configuration with the digest", static_cast<std::int64_t>(planner.configuration())},
          {"a budget of expert rows of", options.planner.max_expert_rows},
          {"slots of carried rows of", options.carried_rows},
          {"slots of single rows of", options.single_rows},
          {"rows at most as wide in bytes as", options.max_row_bytes},
          {"exact splits set to", options.exact_splits ? 1 : 0},
          {"weights carried by dispatch set to", options.carries_weights ? 1 : 0}};
}

}  // namespace

void BudgetPlan::Lists::compare_options(DeviceCommunicator& comm) {
  SWITCHYARD_REQUIRE(comm.rank() == skeleton.rank && comm.size() == world, invalid_argument,
                     "a plan for rank {} of {} over a communicator as rank {} of {}", skeleton.rank.value(), world,
                     comm.rank().value(), comm.size());
  std::vector<Fact> const facts = facts_of(options, planner);
  std::vector<std::int64_t> mine;
  for (Fact const& fact : facts) mine.push_back(fact.value);
  Stream const stream;
  DeviceBuffer const own = upload(mine, stream);
  DeviceBuffer const others(checked_mul(world, own.size_bytes()));
  sends.clear();
  receives.clear();
  for (RankId peer(0); peer.value() < world; ++peer) {
    sends.push_back({peer, own.data(), own.size_bytes()});
    receives.push_back({peer, others.as<std::byte>() + peer.value() * own.size_bytes(), own.size_bytes()});
  }
  CallOptions call;
  call.operation = "budget options";
  comm.exchange_on(stream, sends, receives, call);
  comm.wait(stream);
  std::vector<std::int64_t> const all = download<std::int64_t>(others, stream);
  for (std::size_t i = 0; i < facts.size(); ++i)
    for (std::size_t rank = 1; rank < to_size(world); ++rank)
      SWITCHYARD_REQUIRE(all[i] == all[rank * facts.size() + i], desync,
                         "rank 0 has {} {}, rank {} {}: all ranks of a plan with budgets need the same", facts[i].name,
                         all[i], rank, all[rank * facts.size() + i]);
}

}  // namespace switchyard::cuda
