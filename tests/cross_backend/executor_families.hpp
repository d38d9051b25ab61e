// SPDX-License-Identifier: Apache-2.0
/// FamilyCase: a routing, a placement and a family of plans on which CpuExecutor and CudaExecutor are compared; the
/// lists of such cases, and one rank of one.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "executor_cases.hpp"
#include "support/dispatch_edge_cases.hpp"
#include "switchyard/dispatch/capacity.hpp"
#include "test_data.hpp"

namespace cross_backend {

struct FamilyCase {
  std::string name;
  support::Family family;
  support::RunCase run;
  std::optional<CapacityPolicy> capacity{};  ///< drops, and pads where it says so; not for megablocks
  bool any_bits = false;                     ///< rows of NaN, inf, -0, subnormals and everything else
  [[nodiscard]] int world() const { return run.input.ep * run.input.tp; }
};

/// The families of the CPU's tests, and bins that drop rows.
inline std::vector<support::Family> pair_families() {
  auto families = support::all_families();
  families.push_back(support::megablocks(ExpertBins::capacity, 0.6, 128, "megablocks factor 0.6"));
  return families;
}

/// Tokens and experts that are not there, choices that are dropped or doubled, uneven blocks: docs/edge-cases.md.
inline std::vector<FamilyCase> edge_family_cases() {
  std::vector<FamilyCase> cases;
  for (auto const& edge : support::edge_cases())
    for (auto const& family : support::all_families())
      cases.push_back({edge.name + ", " + family.name, family, edge.run});
  return cases;
}

/// Placements that are not contiguous, with replicas, empty slots and ranks without experts; ragged ranks.
inline std::vector<FamilyCase> random_family_cases(int seed) {
  std::vector<FamilyCase> cases;
  for (auto const& family : pair_families()) {
    support::Random random(static_cast<std::uint64_t>(seed));
    support::RunCase run;
    run.seed = static_cast<std::uint64_t>(seed);
    run.num_experts = 1 + support::draw(random, 6);
    run.top_k = 1 + support::draw(random, 4);
    run.hidden = 1 + support::draw(random, 40);
    int const token_bound = seed % 5 == 0 ? 1 : 20;  // every fifth case has no tokens at all
    support::draw_input(random, run, family.family == DispatchFamily::megablocks ? 1 : 2, token_bound);
    cases.push_back({family.name + " seed " + std::to_string(seed), family, run, {}, seed % 2 == 1});
  }
  return cases;
}

/// Megatron's drop and pad, by probability and by position, on ragged ranks, one of them without tokens.
inline std::vector<FamilyCase> capacity_cases() {
  std::vector<FamilyCase> cases;
  constexpr ExpertParallelGrid kGrids[] = {{1, 2}, {2, 2}, {1, 3}, {1, 4}};
  for (auto const grid : kGrids)
    for (bool const pads : {false, true})
      for (DropPolicy const policy : {DropPolicy::probs, DropPolicy::position}) {
        support::Random random(static_cast<std::uint64_t>(grid.world()));
        support::RunCase run;
        run.seed = 5;
        run.num_experts = 3 * grid.ep;
        run.top_k = 2;
        run.hidden = 9;
        run.input = {grid.tp, grid.ep, 0, true, support::contiguous_experts(grid.ep, 3), {}};
        for (int rank = 0; rank < grid.world(); ++rank)
          run.input.routing.push_back(
              support::random_tokens(random, rank == 1 ? 0 : 5 + 3 * rank, run.num_experts, run.top_k, false, false));
        for (auto const& family : support::all_families()) {
          if (family.family == DispatchFamily::megablocks) continue;
          cases.push_back({family.name + (pads ? " padded" : " dropped") +
                               (policy == DropPolicy::probs ? " by probability" : " by position") + ", tp" +
                               std::to_string(grid.tp) + " ep" + std::to_string(grid.ep),
                           family, run, CapacityPolicy{pads ? 1.0 : 0.6, policy, pads}});
        }
      }
  return cases;
}

/// Every case of the lists above. @param seeds of random_family_cases()
inline std::vector<FamilyCase> family_cases(int seeds) {
  std::vector<FamilyCase> cases = edge_family_cases();
  for (auto const& found : capacity_cases()) cases.push_back(found);
  for (int seed = 0; seed < seeds; ++seed)
    for (auto const& found : random_family_cases(seed)) cases.push_back(found);
  return cases;
}

/// `count` elements of any kind; a move must keep their bits, NaN payloads too.
template <typename T>
std::vector<T> any_rows(std::uint64_t stream, std::size_t count) {
  std::vector<T> rows;
  for (std::size_t i = 0; i < count; ++i) {
    T value = as_row_element<T>(any_float(stream, i));
    std::uint32_t const bits = random_word(stream + 1, i) & (i % 5 == 1 ? 0x8000007fu : ~0u);  // subnormals, anything
    if constexpr (sizeof(T) == 2) {
      auto const half = static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | (bits & 0x7fffu));
      if (i % 5 != 0) value.bits = half;
    }
    rows.push_back(value);
  }
  return rows;
}

/// Infinite, subnormal, huge and negative zero weights between the others. A NaN is refused where a routing is made.
inline void spoil_weights(std::vector<float>& weights) {
  constexpr float kOdd[] = {std::numeric_limits<float>::infinity(), -0.0F, 1e-40F, 3e38F};
  for (std::size_t i = 1; i < weights.size(); i += 4) weights[i] = kOdd[i / 4 % 4];
}

inline DispatchPlan limited_plan(FamilyCase const& given, CapacityResult const& kept, ExpertPlacement const& placement,
                                 Communicator& comm) {
  auto const& input = given.run.input;
  CapacityLimit const limit{kept.capacity, given.capacity->pad_to_capacity};
  if (given.family.family == DispatchFamily::megatron_allgather)
    return plan_allgather(comm, support::config_as<AllGatherConfig>(input), kept.routing, placement, 0, limit);
  if (given.family.family == DispatchFamily::megatron_flex)
    return plan_flex(comm, support::config_as<FlexConfig>(input), kept.routing, placement, 0, limit);
  return plan_alltoall(comm, support::config_of(input), kept.routing, placement, 0, limit);
}

/// One dtype of one rank of a case. @param all_recipes or three of them and the gradients by one
template <typename T>
void check_family(FamilyCase const& given, RoutingMap const& routing, DispatchPlan const& plan, ExecutorPair& pair,
                  bool all_recipes, std::string const& name) {
  auto const& run = given.run;
  int const rank = plan.rank.value();
  auto const values = static_cast<std::size_t>(plan.num_tokens * run.hidden);
  auto const stream = 1000 * static_cast<std::uint64_t>(rank + 1);
  auto const tokens = given.any_bits ? any_rows<T>(stream, values) : run.rows<T>(rank, plan.num_tokens);
  pair.rename(name);
  auto const rows = pair.dispatch(tokens, run.hidden);
  PairOperands<T> operands;
  for (T const value : rows) operands.expert_rows.push_back(support::widened(value));
  operands.weights.assign(routing.weights().begin(), routing.weights().end());
  if (given.any_bits) spoil_weights(operands.weights);
  for (float const weight : operands.weights) operands.weights_f64.push_back(double{weight} * (1.0 + 0x1p-40));
  operands.shared = given.any_bits ? any_rows<T>(stream + 10, values) : run.rows<T>(rank + 100, plan.num_tokens);
  auto const gradients = run.rows<T>(rank + 200, plan.num_tokens);
  if (all_recipes) return combine_all(pair, plan, operands, gradients, run.hidden, name);
  for (auto const recipe : {CombineRecipe::source_slot_order(), CombineRecipe::exact(), CombineRecipe::rank_partial()})
    if (recipe_support(plan, recipe, CombineRoute::automatic))
      pair.combine(recipe, CombineRoute::automatic, operands, run.hidden);
  pair.backward(CombineRecipe::source_expert_order(), operands, gradients, run.hidden);
}

/// @param number of the case: it says which of f32, bf16 and f16 takes all recipes
inline void family_rank(PairReport& report, FamilyCase const& given, int number, Communicator& comm,
                        cuda::DeviceCommunicator& device_comm) {
  auto const placement = support::placement_of(given.run.input, given.run.num_experts);
  RoutingMap routing = given.run.routing(comm.rank().value());
  DispatchPlan plan;
  if (given.capacity) {
    auto const kept = apply_capacity(routing, *given.capacity, given.run.top_k);
    plan = limited_plan(given, kept, placement, comm);
    routing = kept.routing;
  } else {
    plan = support::plan_of(given.family, given.run, comm);
  }
  auto const layout = number % 2 == 0 ? cuda::ReceiveLayout::chunks : cuda::ReceiveLayout::blocks;
  std::vector<std::int32_t> const ids(routing.ids().begin(), routing.ids().end());
  ExecutorPair pair(report, given.name, plan, placement, {layout, ids}, comm, device_comm);
  int const all_recipes = (number + number / 6) % 3;  // not always the same one for a family
  check_family<float>(given, routing, plan, pair, all_recipes == 0, given.name + " f32");
  check_family<bf16_t>(given, routing, plan, pair, all_recipes == 1, given.name + " bf16");
  check_family<f16_t>(given, routing, plan, pair, all_recipes == 2, given.name + " f16");
}

}  // namespace cross_backend
