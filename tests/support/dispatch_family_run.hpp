// SPDX-License-Identifier: Apache-2.0
/// Plans and runs one RunCase through any dispatch family.
///
/// In megablocks the case's EP ranks are expert blocks and its TP ranks hidden shards: rank d holds shard d div ep of
/// block d mod ep, where the other families put tp rank d mod tp of EP rank d div tp.
#pragma once

#include <string>
#include <vector>

#include "support/dispatch_run.hpp"
#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/dispatch/megablocks_planner.hpp"
#include "switchyard/io/dispatch_plan_json.hpp"

namespace support {

struct Family {
  switchyard::DispatchFamily family = switchyard::DispatchFamily::megatron_alltoall;
  switchyard::MegaBlocksConfig megablocks{};  ///< its world is set from the case
  std::string name;
};

inline Family megablocks(switchyard::ExpertBins bins, double factor, std::int64_t block_rows, std::string name) {
  Family family{switchyard::DispatchFamily::megablocks, {}, std::move(name)};
  family.megablocks.bins = bins;
  family.megablocks.capacity_factor = factor;
  family.megablocks.block_rows = block_rows;
  return family;
}

/// Every family, dropping nothing.
inline std::vector<Family> all_families() {
  using switchyard::DispatchFamily;
  using switchyard::ExpertBins;
  return {{DispatchFamily::megatron_alltoall, {}, "alltoall"},
          {DispatchFamily::megatron_allgather, {}, "allgather"},
          {DispatchFamily::megatron_flex, {}, "flex"},
          megablocks(ExpertBins::exact, 0, 128, "megablocks exact"),
          megablocks(ExpertBins::blocks, 0, 4, "megablocks blocks"),
          megablocks(ExpertBins::capacity, 0, 128, "megablocks largest count")};
}

inline switchyard::MegaBlocksConfig megablocks_config(Family const& family, oracle::DispatchCase const& input) {
  auto config = family.megablocks;
  config.world = input.tp * input.ep;
  return config;
}

template <typename Config>
Config config_as(oracle::DispatchCase const& input) {
  Config config;
  config.grid = {input.tp, input.ep};
  config.row_order = input.rank_major ? switchyard::RowOrder::rank_major : switchyard::RowOrder::tp_major;
  return config;
}

/// One rank's plan over a communicator, through JSON.
inline switchyard::DispatchPlan plan_of(Family const& family, RunCase const& run, switchyard::Communicator& comm) {
  using namespace switchyard;
  auto const placement = placement_of(run.input, run.num_experts);
  auto const routing = run.routing(comm.rank().value());
  auto const plan = [&] {
    switch (family.family) {
      case DispatchFamily::megatron_alltoall:
        return plan_alltoall(comm, config_of(run.input), routing, placement, run.input.layer);
      case DispatchFamily::megatron_allgather:
        return plan_allgather(comm, config_as<AllGatherConfig>(run.input), routing, placement, run.input.layer);
      case DispatchFamily::megatron_flex:
        return plan_flex(comm, config_as<FlexConfig>(run.input), routing, placement, run.input.layer);
      case DispatchFamily::megablocks: break;
    }
    return plan_megablocks(comm, megablocks_config(family, run.input), routing, placement, run.input.layer);
  }();
  return io::dispatch_plan_from_json(io::to_json(plan), "plan of a rank");
}

/// The plans of all ranks, made in one process.
inline std::vector<switchyard::DispatchPlan> plan_group(Family const& family, RunCase const& run) {
  using namespace switchyard;
  auto const placement = placement_of(run.input, run.num_experts);
  std::vector<RoutingMap> routings;
  for (std::size_t rank = 0; rank < run.input.routing.size(); ++rank)
    routings.push_back(run.routing(static_cast<int>(rank)));
  switch (family.family) {
    case DispatchFamily::megatron_alltoall:
      return plan_alltoall_group(config_of(run.input), routings, placement, run.input.layer);
    case DispatchFamily::megatron_allgather:
      return plan_allgather_group(config_as<AllGatherConfig>(run.input), routings, placement, run.input.layer);
    case DispatchFamily::megatron_flex:
      return plan_flex_group(config_as<FlexConfig>(run.input), routings, placement, run.input.layer);
    case DispatchFamily::megablocks: break;
  }
  return plan_megablocks_group(megablocks_config(family, run.input), routings, placement, run.input.layer);
}

template <typename T>
struct FamilyOutput {
  switchyard::DispatchPlan plan;
  std::vector<T> rows;
  std::vector<T> combined;
};

/// Plan, dispatch into poisoned rows, experts, combine by source_slot_order into poisoned tokens.
template <typename T>
FamilyOutput<T> run_family_rank(Family const& family, RunCase const& run, switchyard::Communicator& comm) {
  using namespace switchyard;
  FamilyOutput<T> out;
  out.plan = plan_of(family, run, comm);
  auto const& plan = out.plan;
  auto const placement = placement_of(run.input, run.num_experts);
  auto const tokens = run.rows<T>(comm.rank().value(), plan.num_tokens);
  T const poison = narrowed<T>(-12345.0F);
  out.rows.assign(static_cast<std::size_t>(plan.num_expert_rows() * run.hidden), poison);
  out.combined.assign(tokens.size(), poison);
  cpu::CpuExecutor executor(comm);
  executor.dispatch(plan, ConstTensorView::matrix(std::span<T const>(tokens), plan.num_tokens, run.hidden),
                    TensorView::matrix(std::span(out.rows), plan.num_expert_rows(), run.hidden));
  bool const shards = family.family == DispatchFamily::megablocks;
  int const tp = shards ? comm.rank().value() / run.input.ep : comm.rank().value() % run.input.tp;
  auto const results = scaled_rows(run, plan, placement, out.rows, tp);
  auto const routing = run.routing(comm.rank().value());
  executor.combine(plan, CombineRecipe::source_slot_order(),
                   ConstTensorView::matrix(std::span(results), plan.num_expert_rows(), run.hidden), routing.weights(),
                   TensorView::matrix(std::span(out.combined), plan.num_tokens, run.hidden));
  return out;
}

template <typename T>
std::vector<FamilyOutput<T>> run_family(Family const& family, RunCase const& run,
                                        switchyard::cpu::Scheduler& scheduler) {
  std::vector<FamilyOutput<T>> outputs(run.input.routing.size());
  switchyard::cpu::run_ranks(scheduler, static_cast<int>(outputs.size()), {}, [&](switchyard::Communicator& comm) {
    outputs[comm.rank().index()] = run_family_rank<T>(family, run, comm);
  });
  return outputs;
}

}  // namespace support
