// SPDX-License-Identifier: Apache-2.0
#include "vectors/alltoall.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/capacity.hpp"
#include "switchyard/dispatch/megatron_metadata.hpp"
#include "switchyard/internal/to_size.hpp"
#include "vectors/dispatch_case.hpp"

namespace switchyard::tools {
namespace {

using io::JsonValue;

/// What one rank starts from.
struct RankInput {
  RoutingMap routing;
  std::optional<CapacityLimit> limit;
};

std::optional<CapacityPolicy> read_capacity(JsonValue const& golden) {
  if (golden.at("capacity_factor").is_null()) return std::nullopt;
  CapacityPolicy policy;
  policy.factor = golden.at("capacity_factor").as_double();
  policy.pad_to_capacity = golden.at("pad_to_capacity").as_bool();
  auto const name = golden.at("drop_policy").as_string();
  if (name != "probs" && name != "position") golden.at("drop_policy").fail("a drop policy is probs or position");
  policy.policy = name == "probs" ? DropPolicy::probs : DropPolicy::position;
  return policy;
}

/// Experts of every token that are kept, ascending, one list per token.
void compare_kept(Comparison& comparison, int rank, JsonValue const& expected, RoutingMap const& routing) {
  static_cast<void>(expected.array_size(to_size(routing.num_tokens())));
  std::vector<RoutingChoice> choices;
  for (std::int64_t token = 0; token < routing.num_tokens(); ++token) {
    routing.choices_of(TokenIndex{token}, choices);
    std::vector<std::int64_t> experts;
    for (auto const& choice : choices) experts.push_back(choice.expert.value());
    comparison.expect_list(rank, fmt::format("kept_map[{}]", token), expected.at(to_size(token)), experts);
  }
}

/// Routings after drop and pad; compares capacity and kept map on the way.
std::vector<RankInput> read_inputs(JsonValue const& golden, Comparison& comparison) {
  int const num_experts = static_cast<int>(golden.at("num_experts").as_int(1, 1 << 20));
  int const top_k = static_cast<int>(golden.at("topk").as_int(1, num_experts));
  auto const policy = read_capacity(golden);
  auto const ranks = golden.at("ranks");
  std::vector<RankInput> inputs;
  for (std::size_t rank = 0; rank < ranks.array_size(); ++rank) {
    RoutingMap routing = read_routing(ranks.at(rank), "topk_ids", "topk_probs", num_experts, top_k);
    if (!policy) {
      inputs.push_back({std::move(routing), std::nullopt});
      continue;
    }
    auto limited = apply_capacity(routing, *policy, top_k);
    comparison.expect(static_cast<int>(rank), "capacity", 0, ranks.at(rank).at("capacity").as_int(0, kMaxInt),
                      limited.capacity);
    compare_kept(comparison, static_cast<int>(rank), ranks.at(rank).at("kept_map"), limited.routing);
    inputs.push_back({std::move(limited.routing), CapacityLimit{limited.capacity, policy->pad_to_capacity}});
  }
  return inputs;
}

void compare_metadata(Comparison& comparison, int rank, JsonValue const& golden, DispatchPlan const& plan) {
  MegatronMetadata metadata = megatron_metadata(plan);
  comparison.expect_list(rank, "tokens_per_local_expert", golden.at("tokens_per_local_expert"),
                         metadata.tokens_per_local_expert);
  comparison.expect_list(rank, "input_splits", golden.at("input_splits"), metadata.input_splits);
  comparison.expect_list(rank, "output_splits", golden.at("output_splits"), metadata.output_splits);
  comparison.expect_list(rank, "output_splits_tp", golden.at("output_splits_tp"), metadata.output_splits_tp);
  comparison.expect(rank, "num_out_tokens", 0, golden.at("num_out_tokens").as_int(0, kMaxInt), metadata.num_out_tokens);
  comparison.expect_list(rank, "permutation", golden.at("permutation"), metadata.permutation);
  comparison.expect_list(rank, "sort_input_by_local_experts", golden.at("sort_input_by_local_experts"),
                         metadata.sort_input_by_local_experts);
  comparison.expect_list(rank, "restore_output_by_local_experts", golden.at("restore_output_by_local_experts"),
                         metadata.restore_output_by_local_experts);
  // The format writes null for one local expert, also where Megatron fills the table (pad to capacity).
  auto const global = golden.at("num_global_tokens_per_local_expert");
  if (!(global.is_null() && plan.num_local_experts() == 1))
    comparison.expect_list(rank, "num_global_tokens_per_local_expert", global,
                           metadata.num_global_tokens_per_local_expert);
  auto const point = golden.at("cuda_sync_point").as_string();
  if (point != to_string(metadata.cuda_sync_point))
    comparison.note(rank,
                    fmt::format("cuda_sync_point: expected {}, got {}", point, to_string(metadata.cuda_sync_point)));
}

}  // namespace

std::string run_alltoall_case(JsonValue const& golden, DispatchBackend const& backend) {
  AllToAllConfig config;
  config.restore = ChunkRestore::megatron_seed;  // the vectors record what that version computes
  config.grid = read_grid(golden);
  auto const ranks = golden.at("ranks");
  Comparison comparison;
  auto const inputs = read_inputs(golden, comparison);
  if (!comparison.mismatch().empty()) return comparison.mismatch();

  auto const placement = ExpertPlacement::contiguous(1, inputs.front().routing.num_experts(), config.grid.ep);
  std::vector<RoutingMap> routings;
  for (auto const& input : inputs) routings.push_back(input.routing);
  auto const results = run_dispatch(backend, routings, placement, [&](Communicator& comm) {
    auto const& input = inputs[comm.rank().index()];
    return plan_alltoall(comm, config, input.routing, placement, 0, input.limit);
  });
  compare_group(comparison, results);
  for (std::size_t i = 0; i < results.size(); ++i) {
    auto const rank = static_cast<int>(i);
    compare_metadata(comparison, rank, ranks.at(i), results[i].plan);
    compare_dispatched(comparison, rank, ranks.at(i).at("dispatched"), results[i].dispatched);
    compare_combined(comparison, rank, ranks.at(i).at("combined"), results[i].combined);
  }
  return comparison.mismatch();
}

std::string run_alltoall_case(JsonValue const& golden) {
  return run_alltoall_case(golden, cpu_dispatch_backend());
}

}  // namespace switchyard::tools
