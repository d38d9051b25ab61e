// SPDX-License-Identifier: Apache-2.0
// The steps that CudaExecutor runs, interpreted on the host: for every family, random placements, replicas, ragged and
// empty ranks, both receive layouts, they must bring the rows that CpuExecutor brings, and home again.
//
// By hand, 2 ranks with experts {0, 1} and {2}, rank 0's tokens choose 0, 2 and 1, 2: rank 0 sends slots 0 | 1 | 2 as
// blocks of 1, 1 and 2 rows: two to itself at rows 0 and (after rank 1's rows of expert 0) its place in expert 1's
// block, one of 2 rows to rank 1; no map follows the exchange.
//
// Biases of joined rows, by hand: 2 TP ranks, experts 0 and 1; rank 0's tokens choose 0 and 1, both of rank 1's choose
// 1: the four rows have experts 0, 1, 1, 1. Rank 0 joins the first two, its own tokens' rows as well as its share.
#include <doctest/doctest.h>

#include <algorithm>

#include "join_bias.hpp"
#include "path_steps.hpp"
#include "support/dispatch_family_run.hpp"
#include "support/error_text.hpp"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/hd/tree_sum.hpp"
#include "switchyard/internal/combine_paths.hpp"

using namespace switchyard;

namespace {

using Floats = std::vector<float>;
constexpr float kUnwritten = -777.0F;

std::span<float> rows_at(Floats& rows, std::int64_t first, std::int64_t count, std::int64_t hidden) {
  return std::span(rows).subspan(static_cast<std::size_t>(first * hidden), static_cast<std::size_t>(count * hidden));
}

Floats run_move(cuda::MoveStep const& move, Floats in, std::int64_t hidden, Communicator& comm) {
  REQUIRE(static_cast<std::int64_t>(in.size()) == move.input_rows * hidden);
  Floats out(static_cast<std::size_t>(move.output_rows * hidden), kUnwritten);
  std::vector<SendMessage> sends;
  std::vector<ReceiveMessage> receives;
  for (auto const& block : move.sends)
    sends.push_back({block.peer, std::as_bytes(rows_at(in, block.first_row, block.rows, hidden))});
  for (auto const& block : move.receives)
    receives.push_back({block.peer, std::as_writable_bytes(rows_at(out, block.first_row, block.rows, hidden))});
  comm.exchange(sends, receives, {.operation = move.operation});
  return out;
}

Floats run_steps(std::vector<cuda::PathStep> const& steps, Floats rows, std::int64_t hidden, Communicator& comm) {
  for (auto const& step : steps) {
    if (auto const* map = std::get_if<cuda::MapStep>(&step)) {
      Floats out;
      for (std::int64_t const source : map->map)
        for (std::int64_t c = 0; c < hidden; ++c)
          out.push_back(source == cuda::kSkippedRow ? kUnwritten
                        : source < 0                ? 0.0F
                                                    : rows.at(static_cast<std::size_t>(source * hidden + c)));
      rows = std::move(out);
    } else if (auto const* move = std::get_if<cuda::MoveStep>(&step)) {
      rows = run_move(*move, std::move(rows), hidden, comm);
    } else {
      auto const& tree = std::get<cuda::TreeStep>(step);
      std::int64_t const elements = tree.rows * hidden;
      REQUIRE(static_cast<std::int64_t>(rows.size()) == elements * tree.terms);
      hd::tree_sum_in_place(rows.data(), elements, tree.terms, elements);
      rows.resize(static_cast<std::size_t>(elements));
    }
    CHECK(static_cast<std::int64_t>(rows.size()) == cuda::output_rows_of(step) * hidden);
  }
  return rows;
}

/// As run_steps(), with own rows past the exchange: every row is written once, by the steps or by the map.
Floats run_past(std::vector<cuda::PathStep> steps, Floats const& rows, std::int64_t hidden, Communicator& comm) {
  auto const own = cuda::take_own_rows(steps, comm.rank());
  Floats out = run_steps(steps, rows, hidden, comm);
  for (std::size_t row = 0; row < own.size(); ++row) {
    if (own[row] == cuda::kSkippedRow) continue;
    for (std::int64_t c = 0; c < hidden; ++c) {
      float& value = out.at(row * static_cast<std::size_t>(hidden) + static_cast<std::size_t>(c));
      CHECK(value == kUnwritten);
      value = own[row] < 0 ? 0.0F : rows.at(static_cast<std::size_t>(own[row] * hidden + c));
    }
  }
  return out;
}

/// source_slot_order of single rows.
Floats sum_rows(DispatchPlan const& plan, Floats const& rows, std::span<float const> weights, std::int64_t hidden) {
  auto const& gather = std::get<RowGather>(return_path(plan).front());
  Floats sums(static_cast<std::size_t>(plan.num_tokens * hidden), 0.0F);
  for (std::size_t token = 0; token + 1 < gather.row_begin.size(); ++token)
    for (std::int64_t i = gather.row_begin[token]; i < gather.row_begin[token + 1]; ++i) {
      std::int64_t const row = gather.rows_of_token[static_cast<std::size_t>(i)];
      std::int64_t const slot = gather.slot_of_row[static_cast<std::size_t>(row)];
      float const weight =
          weights[token * static_cast<std::size_t>(plan.slot_columns) + static_cast<std::size_t>(slot)];
      for (std::int64_t c = 0; c < hidden; ++c) {
        float& sum = sums[token * static_cast<std::size_t>(hidden) + static_cast<std::size_t>(c)];
        float const product = weight * rows[static_cast<std::size_t>(row * hidden + c)];
        sum = sum + product;
      }
    }
  return sums;
}

/// rows[r] += the bias of expert experts[r].
Floats with_bias(Floats rows, std::span<std::int32_t const> experts, Floats const& bias, std::int64_t hidden) {
  REQUIRE(static_cast<std::int64_t>(rows.size()) == static_cast<std::int64_t>(experts.size()) * hidden);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::size_t const row = i / static_cast<std::size_t>(hidden);
    auto const first = static_cast<std::size_t>(experts[row] * hidden);
    rows[i] = rows[i] + bias.at(first + i % static_cast<std::size_t>(hidden));
  }
  return rows;
}

/// Small floats that differ by expert, the same on all TP ranks.
Floats bias_of(DispatchPlan const& plan, std::int64_t hidden) {
  Floats bias;
  int const ep_rank = plan.setup.grid.ep_rank_of(plan.rank);
  for (std::int64_t i = 0; i < plan.num_local_experts() * hidden; ++i)
    bias.push_back(0.37F * static_cast<float>(1 + i) + static_cast<float>(ep_rank));
  return bias;
}

/// The bias enters where the steps add TP partials, and in their shares, as CpuExecutor has it.
void check_bias(DispatchPlan const& plan, Floats const& expert_rows, std::span<float const> weights,
                std::int64_t hidden, cuda::ReceiveLayout layout, Communicator& comm) {
  Floats const bias = bias_of(plan, hidden);
  Floats combined(static_cast<std::size_t>(plan.num_tokens * hidden), -1.0F);
  cpu::CombineInputs inputs;
  inputs.weights = weights;
  inputs.join_bias = ConstTensorView::matrix(std::span<float const>(bias), plan.num_local_experts(), hidden);
  cpu::CpuExecutor executor(comm);
  executor.combine(plan, CombineRecipe::source_slot_order(),
                   ConstTensorView::matrix(std::span<float const>(expert_rows), plan.num_expert_rows(), hidden), inputs,
                   TensorView::matrix(std::span(combined), plan.num_tokens, hidden));
  auto const steps = cuda::inverse_steps(plan, return_path(plan), layout);
  auto const joins = [](cuda::PathStep const& step) { return std::holds_alternative<cuda::TreeStep>(step); };
  auto const behind = std::find_if(steps.begin(), steps.end(), joins) + 1;
  Floats const joined = run_steps({steps.begin(), behind}, expert_rows, hidden, comm);
  Floats const biased = with_bias(joined, cuda::experts_of_joined_rows(plan, steps), bias, hidden);
  CHECK(sum_rows(plan, run_steps({behind, steps.end()}, biased, hidden, comm), weights, hidden) == combined);

  auto const share = cuda::share_steps(plan);
  auto const gather = cuda::gather_move(plan, internal::share_of_rows(plan, plan.num_expert_rows()));
  Floats const mine = run_steps(share, expert_rows, hidden, comm);
  Floats const shared = with_bias(mine, cuda::experts_of_joined_rows(plan, share), bias, hidden);
  std::vector<std::int32_t> experts;
  for (std::int32_t expert = 0; expert < plan.num_local_experts(); ++expert)
    experts.resize(
        experts.size() + static_cast<std::size_t>(plan.tokens_per_local_expert[static_cast<std::size_t>(expert)]),
        expert);
  CHECK(run_move(gather, shared, hidden, comm) ==
        with_bias(run_move(gather, mine, hidden, comm), experts, bias, hidden));
}

void check_rank(support::Family const& family, support::RunCase const& run, cuda::ReceiveLayout layout,
                Communicator& comm) {
  auto const plan = support::plan_of(family, run, comm);
  auto const routing = run.routing(comm.rank().value());
  auto const tokens = run.rows<float>(comm.rank().value(), plan.num_tokens);
  Floats expected(static_cast<std::size_t>(plan.num_expert_rows() * run.hidden), -1.0F);
  cpu::CpuExecutor executor(comm);
  executor.dispatch(plan, ConstTensorView::matrix(std::span<float const>(tokens), plan.num_tokens, run.hidden),
                    TensorView::matrix(std::span(expected), plan.num_expert_rows(), run.hidden));
  auto const forward = cuda::forward_steps(plan, plan.stages, layout, false);
  CHECK(run_steps(forward, tokens, run.hidden, comm) == expected);
  CHECK(run_past(forward, tokens, run.hidden, comm) == expected);

  Floats combined(tokens.size(), -1.0F);
  executor.combine(plan, CombineRecipe::source_slot_order(),
                   ConstTensorView::matrix(std::span<float const>(expected), plan.num_expert_rows(), run.hidden),
                   routing.weights(), TensorView::matrix(std::span(combined), plan.num_tokens, run.hidden));
  auto const backward = cuda::inverse_steps(plan, return_path(plan), layout);
  auto const home = run_steps(backward, expected, run.hidden, comm);
  CHECK(sum_rows(plan, home, routing.weights(), run.hidden) == combined);
  CHECK(run_past(backward, expected, run.hidden, comm) == home);

  if (plan.setup.grid.tp > 1) check_bias(plan, expected, routing.weights(), run.hidden, layout, comm);

  // The way of the gradients: from (token, slot) rows to expert rows.
  auto const& source = std::get<RowGather>(return_path(plan).front());
  Floats const sent = run_steps({cuda::MapStep{source.token_of_row}}, tokens, run.hidden, comm);
  auto const gradient = cuda::forward_steps(plan, return_path(plan), layout, true);
  CHECK(run_steps(gradient, sent, run.hidden, comm) == expected);
  CHECK(run_past(gradient, sent, run.hidden, comm) == expected);
}

}  // namespace

TEST_CASE("path steps bring the rows that the stages bring, in both layouts") {
  for (int seed = 0; seed < 60; ++seed)
    for (auto const& family : support::all_families())
      for (auto const layout : {cuda::ReceiveLayout::chunks, cuda::ReceiveLayout::blocks}) {
        support::Random random(static_cast<std::uint64_t>(seed));
        support::RunCase run;
        run.seed = static_cast<std::uint64_t>(seed);
        run.num_experts = 1 + support::draw(random, 6);
        run.top_k = 1 + support::draw(random, 4);
        run.hidden = 1 + support::draw(random, 4);
        support::draw_input(random, run, family.family == DispatchFamily::megablocks ? 1 : 2, seed % 5 == 0 ? 1 : 12);
        CAPTURE(seed);
        CAPTURE(family.name);
        CAPTURE(static_cast<int>(layout));
        auto const scheduler = cpu::make_cooperative_scheduler(static_cast<std::uint64_t>(seed));
        cpu::run_ranks(*scheduler, run.input.ep * run.input.tp, {},
                       [&](Communicator& comm) { check_rank(family, run, layout, comm); });
      }
}

TEST_CASE("an exchange in place leaves no sort behind") {
  support::RunCase run;
  run.num_experts = 4;
  run.top_k = 2;
  run.input.ep = 2;
  run.input.tp = 1;
  run.input.experts_of_ep = support::contiguous_experts(2, 2);
  support::Random random(3);
  for (int rank = 0; rank < 2; ++rank)
    run.input.routing.push_back(support::random_tokens(random, 9, 4, 2, false, false));
  auto const plans = support::plan_group({DispatchFamily::megatron_alltoall, {}, "alltoall"}, run);
  CHECK(cuda::forward_steps(plans[0], plans[0].stages, cuda::ReceiveLayout::chunks, false).size() == 2);
  CHECK(cuda::forward_steps(plans[0], plans[0].stages, cuda::ReceiveLayout::blocks, false).size() == 3);
  CHECK(cuda::inverse_steps(plans[0], plans[0].stages, cuda::ReceiveLayout::chunks).size() == 1);
}

TEST_CASE("rows for the own rank pass the exchange and both maps") {
  // Tokens 0, 1, 2: rows 0 and 2 stay on rank 0, row 1 goes to rank 1, whose one row comes second to last.
  cuda::MoveStep move{"exchange", {{RankId(0), 0, 2}, {RankId(1), 2, 1}}, {{RankId(0), 0, 2}, {RankId(1), 2, 1}}, 3, 3};
  std::vector<cuda::PathStep> steps{cuda::MapStep{{0, 2, 1}}, move, cuda::MapStep{{0, 2, 1, -1}}};
  using Map = std::vector<std::int64_t>;
  CHECK(cuda::take_own_rows(steps, RankId(0)) == Map{0, -2, 2, -2});
  CHECK(std::get<cuda::MapStep>(steps[0]).map == Map{-2, -2, 1});
  CHECK(std::get<cuda::MoveStep>(steps[1]).sends.size() == 1);
  CHECK(std::get<cuda::MoveStep>(steps[1]).receives.size() == 1);
  CHECK(std::get<cuda::MapStep>(steps[2]).map == Map{-2, 2, -2, -1});
}

TEST_CASE("joined rows have the experts of the rows that a TP rank keeps") {
  AllToAllConfig config;
  config.grid = {2, 1};
  std::vector<RoutingMap> const routings{RoutingMap::from_topk(2, 2, 1, {0, 1}, {1.0F, 1.0F}),
                                         RoutingMap::from_topk(2, 2, 1, {1, 1}, {1.0F, 1.0F})};
  auto const plans = plan_alltoall_group(config, routings, ExpertPlacement::contiguous(1, 2, 1), 0);
  using Experts = std::vector<std::int32_t>;
  for (std::size_t rank = 0; rank < 2; ++rank) {
    Experts const expected = rank == 0 ? Experts{0, 1} : Experts{1, 1};
    auto const home = cuda::inverse_steps(plans[rank], return_path(plans[rank]), cuda::ReceiveLayout::blocks);
    CHECK(cuda::experts_of_joined_rows(plans[rank], home) == expected);
    CHECK(cuda::experts_of_joined_rows(plans[rank], cuda::share_steps(plans[rank])) == expected);
  }
}

TEST_CASE("a bias on rows that nobody joins is refused") {
  std::vector<RoutingMap> const routings{RoutingMap::from_topk(1, 2, 1, {0}, {1.0F})};
  auto const plans = plan_alltoall_group({}, routings, ExpertPlacement::contiguous(1, 2, 1), 0);
  cuda::CombineInputs inputs;
  cuda::require_join_bias(plans[0], CombineRecipe::source_slot_order(), inputs, 3);
  inputs.join_bias = ConstTensorView(nullptr, DType::f32, {2, 3}, MemorySpace::device);
  CHECK(support::contains(
      support::error_text(ErrorCode::invalid_argument,
                          [&] { cuda::require_join_bias(plans[0], CombineRecipe::source_slot_order(), inputs, 3); }),
      "but TP is 1: experts add it themselves"));
}
