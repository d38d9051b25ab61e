// SPDX-License-Identifier: Apache-2.0
#include "vectors/alltoall.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/capacity.hpp"
#include "switchyard/dispatch/megatron_metadata.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/io/dispatch_plan_json.hpp"

namespace switchyard::tools {
namespace {

using io::JsonValue;

constexpr std::int64_t kMaxInt = std::int64_t{1} << 40;
constexpr int kMaxRanks = 4096;
constexpr std::int64_t kHidden = 3;  // payload row: rank + 1, token + 1, 1

/// What one rank starts from.
struct RankInput {
  RoutingMap routing;
  std::optional<CapacityLimit> limit;
};

/// What one rank ends with.
struct RankResult {
  DispatchPlan plan;
  std::vector<float> dispatched;
  std::vector<float> combined;
};

/// The first mismatch of a case; later ones are ignored.
class Comparison {
 public:
  void expect(int rank, std::string_view field, std::int64_t index, std::int64_t expected, std::int64_t got) {
    if (expected != got) note(rank, fmt::format("{}[{}]: expected {}, got {}", field, index, expected, got));
  }
  void expect_list(int rank, std::string_view field, JsonValue const& expected, std::vector<std::int64_t> const& got) {
    std::vector<std::int64_t> flat;
    flatten(expected, flat);
    expect(rank, std::string(field) + ".length", 0, static_cast<std::int64_t>(flat.size()),
           static_cast<std::int64_t>(got.size()));
    for (std::size_t i = 0; i < std::min(flat.size(), got.size()); ++i)
      expect(rank, field, static_cast<std::int64_t>(i), flat[i], got[i]);
  }
  void expect_list(int rank, std::string_view field, JsonValue const& expected,
                   std::optional<std::vector<std::int64_t>> const& got) {
    if (expected.is_null() != !got.has_value())
      return note(rank, fmt::format("{}: expected {}, got {}", field, expected.is_null() ? "null" : "a list",
                                    got ? "a list" : "null"));
    if (got) expect_list(rank, field, expected, *got);
  }
  void note(int rank, std::string const& text) {
    if (mismatch_.empty()) mismatch_ = fmt::format("rank {}, {}", rank, text);
  }
  [[nodiscard]] std::string const& mismatch() const { return mismatch_; }

 private:
  static void flatten(JsonValue const& value, std::vector<std::int64_t>& out) {
    if (!value.is_array()) return out.push_back(value.as_int(-kMaxInt, kMaxInt));
    for (std::size_t i = 0; i < value.array_size(); ++i) flatten(value.at(i), out);
  }

  std::string mismatch_;
};

RoutingMap read_routing(JsonValue const& rank, int num_experts, int top_k) {
  auto const tokens = to_size(rank.at("num_tokens").as_int(0, kMaxInt));
  auto const ids = rank.at("topk_ids");
  auto const probs = rank.at("topk_probs");
  static_cast<void>(ids.array_size(tokens));
  static_cast<void>(probs.array_size(tokens));
  std::vector<std::int32_t> flat_ids;
  std::vector<float> flat_probs;
  for (std::size_t token = 0; token < tokens; ++token) {
    static_cast<void>(ids.at(token).array_size(to_size(top_k)));
    static_cast<void>(probs.at(token).array_size(to_size(top_k)));
    for (std::size_t k = 0; k < to_size(top_k); ++k) {
      flat_ids.push_back(static_cast<std::int32_t>(ids.at(token).at(k).as_int(0, num_experts - 1)));
      flat_probs.push_back(static_cast<float>(probs.at(token).at(k).as_double()));
    }
  }
  return RoutingMap::from_topk(static_cast<std::int64_t>(tokens), num_experts, top_k, std::move(flat_ids),
                               std::move(flat_probs));
}

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
    RoutingMap routing = read_routing(ranks.at(rank), num_experts, top_k);
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

std::vector<float> payload(RankId rank, std::int64_t tokens) {
  std::vector<float> rows;
  for (std::int64_t token = 0; token < tokens; ++token)
    rows.insert(rows.end(), {static_cast<float>(rank.value() + 1), static_cast<float>(token + 1), 1.0F});
  return rows;
}

/// Expert e multiplies its rows by e + 1.
std::vector<float> apply_experts(DispatchPlan const& plan, ExpertPlacement const& placement, std::vector<float> rows) {
  std::size_t element = 0;
  for (int local = 0; local < plan.num_local_experts(); ++local) {
    auto const expert = placement.expert_at(plan.setup.layer, SlotId{plan.first_slot + local}).value();
    auto const elements = to_size(plan.tokens_per_local_expert[to_size(local)] * kHidden);
    for (std::size_t i = 0; i < elements; ++i) rows[element++] *= static_cast<float>(expert + 1);
  }
  return rows;
}

/// One rank's whole life; it knows its own input and reaches the others through `comm` only.
RankResult run_rank(Communicator& comm, AllToAllConfig const& config, RankInput const& input,
                    ExpertPlacement const& placement) {
  RankResult result;
  auto const planned = plan_alltoall(comm, config, input.routing, placement, 0, input.limit);
  result.plan = io::dispatch_plan_from_json(io::to_json(planned), "plan of a rank");
  auto const& plan = result.plan;
  auto const tokens = payload(comm.rank(), plan.num_tokens);
  result.dispatched.assign(to_size(plan.num_expert_rows() * kHidden), -1.0F);
  result.combined.assign(to_size(plan.num_tokens * kHidden), -1.0F);
  cpu::CpuExecutor executor(comm);
  executor.dispatch(plan, ConstTensorView::matrix(std::span<float const>(tokens), plan.num_tokens, kHidden),
                    TensorView::matrix(std::span(result.dispatched), plan.num_expert_rows(), kHidden));
  auto const expert_rows = apply_experts(plan, placement, result.dispatched);
  executor.combine(plan, CombineRecipe::source_slot_order(),
                   ConstTensorView::matrix(std::span<float const>(expert_rows), plan.num_expert_rows(), kHidden),
                   input.routing.weights(), TensorView::matrix(std::span(result.combined), plan.num_tokens, kHidden));
  return result;
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

void compare_dispatched(Comparison& comparison, int rank, JsonValue const& golden, std::vector<float> const& rows) {
  std::vector<std::int64_t> sources;
  for (std::size_t row = 0; row < rows.size() / to_size(kHidden); ++row) {
    float const* const values = rows.data() + row * to_size(kHidden);
    sources.push_back(static_cast<std::int64_t>(values[0]) - 1);
    sources.push_back(static_cast<std::int64_t>(values[1]) - 1);
    comparison.expect(rank, "dispatched payload", static_cast<std::int64_t>(row), 1,
                      static_cast<std::int64_t>(values[2]));
  }
  comparison.expect_list(rank, "dispatched", golden, sources);
}

void compare_combined(Comparison& comparison, int rank, JsonValue const& golden, std::vector<float> const& combined) {
  auto const tokens = combined.size() / to_size(kHidden);
  static_cast<void>(golden.array_size(tokens));
  for (std::size_t token = 0; token < tokens; ++token) {
    static_cast<void>(golden.at(token).array_size(to_size(kHidden)));
    for (std::size_t column = 0; column < to_size(kHidden); ++column) {
      double const expected = golden.at(token).at(column).as_double();
      auto const got = static_cast<double>(combined[token * to_size(kHidden) + column]);
      if (!(expected == got))
        comparison.note(rank, fmt::format("combined[{}][{}]: expected {}, got {}", token, column, expected, got));
    }
  }
}

void compare_group(Comparison& comparison, std::vector<RankResult> const& results) {
  std::vector<DispatchPlan> plans;
  for (auto const& result : results) plans.push_back(result.plan);
  for (auto const& violation : validate_group(plans))
    comparison.note(violation.rank.value(), fmt::format("plan rule {}: {}", to_string(violation.rule), violation.text));
}

}  // namespace

std::string run_alltoall_case(JsonValue const& golden) {
  AllToAllConfig config;
  config.restore = ChunkRestore::megatron_seed;  // the vectors record what that version computes
  config.grid.tp = static_cast<int>(golden.at("tp").as_int(1, kMaxRanks));
  config.grid.ep = static_cast<int>(golden.at("ep").as_int(1, kMaxRanks));
  auto const ranks = golden.at("ranks");
  static_cast<void>(ranks.array_size(to_size(config.grid.world())));
  Comparison comparison;
  auto const inputs = read_inputs(golden, comparison);
  if (!comparison.mismatch().empty()) return comparison.mismatch();

  auto const placement = ExpertPlacement::contiguous(1, inputs.front().routing.num_experts(), config.grid.ep);
  std::vector<RankResult> results(inputs.size());
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, config.grid.world(), {}, [&](Communicator& comm) {
    results[comm.rank().index()] = run_rank(comm, config, inputs[comm.rank().index()], placement);
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

}  // namespace switchyard::tools
