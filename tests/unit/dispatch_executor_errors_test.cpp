// SPDX-License-Identifier: Apache-2.0
// What the CPU executor refuses, special values in the combine, and the recorded defect of Megatron's unsort.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/error_text.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"

using namespace switchyard;
using support::contains;
using support::error_text;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

template <typename T>
ConstTensorView view(std::vector<T> const& values, std::int64_t rows, std::int64_t columns) {
  return ConstTensorView::matrix(std::span<T const>(values), rows, columns);
}
template <typename T>
TensorView view(std::vector<T>& values, std::int64_t rows, std::int64_t columns) {
  return TensorView::matrix(std::span(values), rows, columns);
}

/// One rank, two experts, two tokens that chose both: rows e0t0, e0t1, e1t0, e1t1.
RoutingMap small_routing(std::vector<float> weights = {0.5F, 0.25F, 1.0F, 2.0F}) {
  return RoutingMap::from_topk(2, 2, 2, {0, 1, 1, 0}, std::move(weights));
}

DispatchPlan small_plan() {
  std::vector<RoutingMap> const routings{small_routing()};
  return plan_alltoall_group({}, routings, ExpertPlacement::contiguous(1, 2, 1), 0).front();
}

void alone(std::function<void(cpu::CpuExecutor&)> const& body) {
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](Communicator& comm) {
    cpu::CpuExecutor executor(comm);
    body(executor);
  });
}

std::vector<float> combine_alone(std::vector<float> const& expert_rows, std::vector<float> const& weights) {
  std::vector<float> out(2, -1.0F);
  alone([&](cpu::CpuExecutor& executor) {
    executor.combine(small_plan(), {}, view(expert_rows, 4, 1), weights, view(out, 2, 1));
  });
  return out;
}

std::uint32_t bits_of(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

std::string combine_error(ErrorCode code, std::vector<float> const& weights, CombineRecipe recipe = {}) {
  return error_text(code, [&] {
    std::vector<float> const rows(4, 1.0F);
    std::vector<float> out(2);
    alone([&](cpu::CpuExecutor& e) { e.combine(small_plan(), recipe, view(rows, 4, 1), weights, view(out, 2, 1)); });
    return 0;
  });
}

}  // namespace

TEST_CASE("combine by hand: slot k multiplies and adds in order") {
  // Token 0 adds row 0 * 0.5 and row 2 * 0.25; token 1 adds row 3 (slot 0) * 1 and row 1 * 2.
  CHECK(combine_alone({8, 1, 4, 3}, {0.5F, 0.25F, 1.0F, 2.0F}) == std::vector<float>{5.0F, 5.0F});
}

TEST_CASE("special values have one meaning") {
  std::vector<float> const weights{1.0F, 1.0F, 1.0F, 1.0F};
  CHECK(bits_of(combine_alone({-0.0F, -0.0F, -0.0F, -0.0F}, weights)[0]) == 0);   // sums start at +0
  CHECK(bits_of(combine_alone({kInf, 1, -kInf, 1}, weights)[0]) == 0x7fffffffu);  // the canonical NaN
  CHECK(bits_of(combine_alone({-kNan, 1, 1, 1}, weights)[0]) == 0x7fffffffu);
  CHECK(combine_alone({kInf, 1, 1, 1}, weights)[0] == kInf);
  CHECK(bits_of(combine_alone({1e-45F, 0, 0, 0}, weights)[0]) == 1);  // subnormals are kept
  CHECK(bits_of(combine_alone({kInf, 1, 1, 1}, {0.0F, 1.0F, 1.0F, 1.0F})[0]) == 0x7fffffffu);
}

TEST_CASE("a token without rows becomes +0, moves keep NaN payloads") {
  std::vector<RoutingMap> const routings{RoutingMap::from_topk(2, 1, 1, {-1, 0}, {0, 1})};
  auto const plan = plan_alltoall_group({}, routings, ExpertPlacement::contiguous(1, 1, 1), 0).front();
  std::vector<bf16_t> const tokens{bf16_t{0x3f80}, bf16_t{0xffab}};
  std::vector<bf16_t> rows(1);
  std::vector<bf16_t> out(2, bf16_t{0x1234});
  alone([&](cpu::CpuExecutor& executor) {
    executor.dispatch(plan, view(tokens, 2, 1), view(rows, 1, 1));
    executor.combine(plan, {}, view(rows, 1, 1), routings[0].weights(), view(out, 2, 1));
  });
  CHECK(rows[0].bits == 0xffab);
  CHECK(out[0].bits == 0);
  CHECK(out[1].bits == 0x7fff);  // made by arithmetic: canonical
}

TEST_CASE("f32 results of bf16 tokens are rounded before they are weighted") {
  // 1 + 2^-9 rounds to 1 in bf16, so weight 256 gives 256, not 256.5.
  std::vector<RoutingMap> const routings{RoutingMap::from_topk(1, 1, 1, {0}, {256.0F})};
  auto const plan = plan_alltoall_group({}, routings, ExpertPlacement::contiguous(1, 1, 1), 0).front();
  std::vector<float> const rows{1.0F + 1.0F / 512.0F};
  std::vector<bf16_t> out(1);
  alone([&](cpu::CpuExecutor& executor) {
    executor.combine(plan, {}, view(rows, 1, 1), routings[0].weights(), view(out, 1, 1));
  });
  CHECK(to_float(out[0]) == 256.0F);
}

TEST_CASE("bad calls are refused by name") {
  CHECK(contains(combine_error(ErrorCode::invalid_argument, {0.5F, kNan, 1.0F, 2.0F}), "token 0, slot 1 on rank 0"));
  CHECK(contains(combine_error(ErrorCode::shape_mismatch, {0.5F, 1.0F, 2.0F}), "3 weights"));
  auto const other = CombineRecipe::megatron_allgather();
  CHECK(contains(combine_error(ErrorCode::unsupported, {1, 1, 1, 1}, other), "let it send partials"));

  auto const dispatch_error = [](ErrorCode code, auto tokens, auto rows, std::int64_t num_tokens,
                                 std::int64_t num_rows) {
    return error_text(code, [&] {
      alone([&](cpu::CpuExecutor& e) {
        e.dispatch(small_plan(), view(std::as_const(tokens), num_tokens, 1), view(rows, num_rows, 1));
      });
      return 0;
    });
  };
  using F = std::vector<float>;
  CHECK(
      contains(dispatch_error(ErrorCode::shape_mismatch, F(3), F(4), 3, 4), "tokens of rank 0 must be a matrix of 2"));
  CHECK(contains(dispatch_error(ErrorCode::shape_mismatch, F(2), F(5), 2, 5), "expert rows of rank 0"));
  CHECK(
      contains(dispatch_error(ErrorCode::shape_mismatch, F(2), std::vector<bf16_t>(4), 2, 4), "f32 tokens into bf16"));
  CHECK(contains(dispatch_error(ErrorCode::unsupported, std::vector<double>(2), std::vector<double>(4), 2, 4), "f64"));

  auto altered = small_plan();
  std::get<RowGather>(altered.stages[0]).token_of_row[3] = 7;
  auto foreign = small_plan();
  foreign.rank = RankId{1};
  for (auto const& [plan, code] :
       {std::pair{altered, ErrorCode::invalid_plan}, {foreign, ErrorCode::invalid_argument}}) {
    auto const text = error_text(code, [&plan = plan] {
      F const tokens(2);
      F rows(4);
      alone([&](cpu::CpuExecutor& e) { e.dispatch(plan, view(tokens, 2, 1), view(rows, 4, 1)); });
      return 0;
    });
    CHECK(contains(text, "plan"));
  }
  CHECK(contains(error_text(ErrorCode::invalid_argument,
                            [] {
                              auto const scheduler = cpu::make_cooperative_scheduler();
                              cpu::run_ranks(*scheduler, 2, {}, [](Communicator& comm) {
                                (void)plan_alltoall(comm, {}, small_routing(), ExpertPlacement::contiguous(1, 2, 1), 0);
                              });
                              return 0;
                            }),
                 "communicator of 2 ranks"));
}

namespace {

/// Two EP ranks, two experts; every token of a rank chose expert `expert`.
DispatchPlan plan_of(int rank, std::vector<std::int32_t> const& experts) {
  std::vector<RoutingMap> const routings{RoutingMap::from_topk(2, 2, 1, {experts[0], experts[1]}, {1, 1}),
                                         RoutingMap::from_topk(2, 2, 1, {experts[2], experts[3]}, {1, 1})};
  AllToAllConfig config;
  config.grid = {1, 2};
  return plan_alltoall_group(config, routings, ExpertPlacement::contiguous(1, 2, 2), 0)[static_cast<std::size_t>(rank)];
}

/// What every rank reports when they execute `plans` with `hidden` columns each.
std::vector<cpu::RankOutcome> outcomes(std::vector<DispatchPlan> const& plans,
                                       std::vector<std::int64_t> const& hidden) {
  auto const scheduler = cpu::make_cooperative_scheduler();
  return cpu::run_ranks_collect(*scheduler, 2, {}, [&](Communicator& comm) {
    auto const& plan = plans[comm.rank().index()];
    auto const columns = hidden[comm.rank().index()];
    std::vector<float> const tokens(static_cast<std::size_t>(plan.num_tokens * columns));
    std::vector<float> rows(static_cast<std::size_t>(plan.num_expert_rows() * columns));
    cpu::CpuExecutor(comm).dispatch(plan, view(tokens, plan.num_tokens, columns),
                                    view(rows, plan.num_expert_rows(), columns));
  });
}

}  // namespace

TEST_CASE("ranks that disagree all get the same error, before rows move") {
  std::vector<std::int32_t> const routing{0, 1, 0, 1};
  for (auto const& outcome : outcomes({plan_of(0, routing), plan_of(1, routing)}, {4, 4})) CHECK_FALSE(outcome.failed);
  for (auto const& outcome : outcomes({plan_of(0, routing), plan_of(1, routing)}, {4, 5}))
    CHECK(outcome.code == ErrorCode::desync);
  auto const split = outcomes({plan_of(0, routing), plan_of(1, {0, 0, 0, 1})}, {4, 4});
  for (auto const& outcome : split) CHECK(outcome.code == ErrorCode::split_mismatch);
  CHECK(split[0].text == split[1].text);
  auto other_layer = plan_of(1, routing);
  other_layer.setup.layer = 3;
  for (auto const& outcome : outcomes({plan_of(0, routing), other_layer}, {4, 4}))
    CHECK(outcome.code == ErrorCode::desync);
}

namespace {

/// Token t of rank r is the number 10 r + t + 1; experts are the identity; weights are 1.
std::vector<std::vector<float>> identity_round_trip(ExpertParallelGrid grid, ChunkRestore restore,
                                                    std::vector<std::vector<std::int32_t>> const& ids) {
  std::vector<std::vector<float>> combined(ids.size());
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, grid.world(), {}, [&](Communicator& comm) {
    auto const& mine = ids[comm.rank().index()];
    auto const tokens = static_cast<std::int64_t>(mine.size());
    auto const routing = RoutingMap::from_topk(tokens, 4, 1, mine, std::vector<float>(mine.size(), 1.0F));
    AllToAllConfig config;
    config.grid = grid;
    config.restore = restore;
    auto const plan = plan_alltoall(comm, config, routing, ExpertPlacement::contiguous(1, 4, grid.ep), 0);
    std::vector<float> values;
    for (std::int64_t t = 0; t < tokens; ++t) values.push_back(static_cast<float>(10 * comm.rank().value() + t + 1));
    std::vector<float> rows(static_cast<std::size_t>(plan.num_expert_rows()));
    std::vector<float> out(mine.size());
    cpu::CpuExecutor executor(comm);
    executor.dispatch(plan, view(values, tokens, 1), view(rows, plan.num_expert_rows(), 1));
    for (float& row : rows) row /= static_cast<float>(grid.tp);  // exact for tp 2: the partials add up to the row
    executor.combine(plan, {}, view(rows, plan.num_expert_rows(), 1), routing.weights(), view(out, tokens, 1));
    combined[comm.rank().index()] = out;
  });
  return combined;
}

}  // namespace

TEST_CASE("Megatron's recorded unsort is reproduced by name only") {
  using Values = std::vector<std::vector<float>>;
  std::vector<std::vector<std::int32_t>> const ids{{0, 1}, {0, 0, 1}, {1}, {0, 1, 1}};
  Values const truth{{1, 2}, {11, 12, 13}, {21}, {31, 32, 33}};
  CHECK(identity_round_trip({2, 2}, ChunkRestore::inverse, ids) == truth);
  CHECK(identity_round_trip({2, 2}, ChunkRestore::megatron_seed, ids) != truth);
  // With TP = 1 or EP = 1 the two orders coincide, and so do the results.
  CHECK(identity_round_trip({1, 4}, ChunkRestore::megatron_seed, ids) == truth);
  CHECK(identity_round_trip({4, 1}, ChunkRestore::megatron_seed, ids) == truth);
}

TEST_CASE("instruction sets have names, and only available ones can be forced") {
  for (auto const set : cpu::available_instruction_sets()) CHECK(cpu::parse_instruction_set(to_string(set)) == set);
  CHECK(cpu::parse_instruction_set("x86-64-v9") == std::nullopt);
  CHECK(cpu::available_instruction_sets().front() == cpu::InstructionSet::baseline);
  auto const sets = cpu::available_instruction_sets();
  if (std::find(sets.begin(), sets.end(), cpu::InstructionSet::x86_64_v4) == sets.end())
    CHECK(contains(error_text(ErrorCode::unsupported,
                              [] { return cpu::force_instruction_set(cpu::InstructionSet::x86_64_v4), 0; }),
                   "not available here"));
}
