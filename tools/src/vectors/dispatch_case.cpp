// SPDX-License-Identifier: Apache-2.0
#include "vectors/dispatch_case.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "switchyard/internal/to_size.hpp"
#include "switchyard/io/dispatch_plan_json.hpp"

namespace switchyard::tools {
namespace {

using io::JsonValue;

void flatten(JsonValue const& value, std::vector<std::int64_t>& out) {
  if (!value.is_array()) return out.push_back(value.as_int(-kMaxInt, kMaxInt));
  for (std::size_t i = 0; i < value.array_size(); ++i) flatten(value.at(i), out);
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

RankResult run_rank(DispatchBackend const& backend, Communicator& comm, RoutingMap const& routing,
                    ExpertPlacement const& placement, Planner const& planner) {
  RankResult result;
  result.plan = io::dispatch_plan_from_json(io::to_json(planner(comm)), "plan of a rank");
  auto const& plan = result.plan;
  auto const tokens = payload(comm.rank(), plan.num_tokens);
  result.dispatched.assign(to_size(plan.num_expert_rows() * kHidden), -1.0F);
  result.combined.assign(to_size(plan.num_tokens * kHidden), -1.0F);
  auto const executor = backend.make(comm, plan);
  executor->dispatch(ConstTensorView::matrix(std::span<float const>(tokens), plan.num_tokens, kHidden),
                     TensorView::matrix(std::span(result.dispatched), plan.num_expert_rows(), kHidden));
  auto const expert_rows = apply_experts(plan, placement, result.dispatched);
  executor->combine(ConstTensorView::matrix(std::span<float const>(expert_rows), plan.num_expert_rows(), kHidden),
                    routing.weights(), TensorView::matrix(std::span(result.combined), plan.num_tokens, kHidden));
  return result;
}

}  // namespace

void Comparison::expect(int rank, std::string_view field, std::int64_t index, std::int64_t expected, std::int64_t got) {
  if (expected != got) note(rank, fmt::format("{}[{}]: expected {}, got {}", field, index, expected, got));
}

void Comparison::expect_list(int rank, std::string_view field, JsonValue const& expected,
                             std::vector<std::int64_t> const& got) {
  std::vector<std::int64_t> flat;
  flatten(expected, flat);
  expect(rank, std::string(field) + ".length", 0, static_cast<std::int64_t>(flat.size()),
         static_cast<std::int64_t>(got.size()));
  for (std::size_t i = 0; i < std::min(flat.size(), got.size()); ++i)
    expect(rank, field, static_cast<std::int64_t>(i), flat[i], got[i]);
}

void Comparison::expect_list(int rank, std::string_view field, JsonValue const& expected,
                             std::optional<std::vector<std::int64_t>> const& got) {
  if (expected.is_null() != !got.has_value())
    return note(rank, fmt::format("{}: expected {}, got {}", field, expected.is_null() ? "null" : "a list",
                                  got ? "a list" : "null"));
  if (got) expect_list(rank, field, expected, *got);
}

void Comparison::note(int rank, std::string const& text) {
  if (mismatch_.empty()) mismatch_ = fmt::format("rank {}, {}", rank, text);
}

RoutingMap read_routing(JsonValue const& rank, std::string_view ids_name, std::string_view weights_name,
                        int num_experts, int top_k) {
  auto const tokens = to_size(rank.at("num_tokens").as_int(0, kMaxInt));
  auto const ids = rank.at(ids_name);
  auto const probs = rank.at(weights_name);
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

ExpertParallelGrid read_grid(JsonValue const& golden) {
  ExpertParallelGrid grid;
  grid.tp = static_cast<int>(golden.at("tp").as_int(1, kMaxRanks));
  grid.ep = static_cast<int>(golden.at("ep").as_int(1, kMaxRanks));
  static_cast<void>(golden.at("ranks").array_size(to_size(grid.world())));
  return grid;
}

std::vector<RoutingMap> read_dropless(JsonValue const& golden) {
  auto const factor = golden.at("capacity_factor");
  if (!factor.is_null()) factor.fail("this dispatcher's cases have no capacity");
  int const num_experts = static_cast<int>(golden.at("num_experts").as_int(1, 1 << 20));
  int const top_k = static_cast<int>(golden.at("topk").as_int(1, num_experts));
  auto const ranks = golden.at("ranks");
  std::vector<RoutingMap> routings;
  for (std::size_t rank = 0; rank < ranks.array_size(); ++rank)
    routings.push_back(read_routing(ranks.at(rank), "topk_ids", "topk_probs", num_experts, top_k));
  return routings;
}

std::vector<RankResult> run_dispatch(DispatchBackend const& backend, std::span<RoutingMap const> routings,
                                     ExpertPlacement const& placement, Planner const& planner) {
  std::vector<RankResult> results(routings.size());
  backend.run(static_cast<int>(routings.size()), [&](Communicator& comm) {
    auto const rank = comm.rank().index();
    results[rank] = run_rank(backend, comm, routings[rank], placement, planner);
  });
  return results;
}

void compare_group(Comparison& comparison, std::vector<RankResult> const& results) {
  std::vector<DispatchPlan> plans;
  for (auto const& result : results) plans.push_back(result.plan);
  for (auto const& violation : validate_group(plans))
    comparison.note(violation.rank.value(), fmt::format("plan rule {}: {}", to_string(violation.rule), violation.text));
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

void compare_expert_side(Comparison& comparison, int rank, io::JsonValue const& golden, RankResult const& result) {
  comparison.expect_list(rank, "tokens_per_local_expert", golden.at("tokens_per_local_expert"),
                         result.plan.tokens_per_local_expert);
  compare_dispatched(comparison, rank, golden.at("dispatched"), result.dispatched);
  compare_combined(comparison, rank, golden.at("combined"), result.combined);
}

}  // namespace switchyard::tools
