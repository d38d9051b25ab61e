// SPDX-License-Identifier: Apache-2.0
// Every stage of every dispatcher alone: <S x, y> = <x, S^T y> in exact integers over all ranks, the rounding and the
// order of each sum, and that the stages one after another are the executor's dispatch and its gradient, bit for bit.
//
// By hand, source permutation of one token with two rows: x = 3 becomes 3, 3; gradients 4 and 5 of the rows give 9, and
// 3 * 4 + 3 * 5 = 3 * 9. In bf16 the gradients 256, 1, 1 of three rows give 258: fp32 sums, rounded once; rounding
// every sum would give 256. A world gather of one row over two ranks gives the owner the sum of both ranks' gradients.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/error_text.hpp"
#include "support/recipe_runs.hpp"
#include "switchyard/cpu/stage_runner.hpp"

using namespace switchyard;
using cpu::StageIndex;
using cpu::StageList;
using support::Dispatcher;
using support::narrowed;
using support::RecipeBatch;
using support::RecipeRun;
using support::widened;

namespace {

constexpr ExpertParallelGrid kGrids[] = {{1, 1}, {1, 2}, {1, 4}, {2, 1}, {2, 2}, {2, 4}, {3, 2}};

template <typename T>
ConstTensorView view(std::vector<T> const& rows, std::int64_t hidden) {
  return ConstTensorView::matrix(std::span<T const>(rows), static_cast<std::int64_t>(rows.size()) / hidden, hidden);
}
template <typename T>
TensorView view(std::vector<T>& rows, std::int64_t hidden) {
  return TensorView::matrix(std::span(rows), static_cast<std::int64_t>(rows.size()) / hidden, hidden);
}

/// Small integers: exact in every dtype, as are sums of the few that meet.
template <typename T>
std::vector<T> integers(RecipeBatch const& batch, std::uint64_t stream, std::int64_t rows) {
  std::vector<T> values;
  for (std::int64_t i = 0; i < rows * batch.hidden; ++i)
    values.push_back(narrowed<T>(
        static_cast<float>(static_cast<int>(batch.rng(stream).bits(static_cast<std::uint64_t>(i)) % 7) - 3)));
  return values;
}

template <typename T>
double dot(std::vector<T> const& a, std::vector<T> const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    sum += static_cast<double>(widened(a[i])) * static_cast<double>(widened(b[i]));
  return sum;
}

/// Both sides of the identity, added over all ranks.
struct Identity {
  double forward = 0;
  double backward = 0;
};

template <typename T>
Identity check_stage(RecipeBatch const& batch, DispatchPlan const& plan, StageIndex index, cpu::StageRunner& runner) {
  auto const& list = index.list == StageList::stages ? plan.stages : plan.row_return;
  auto const& stage = list[index.position];
  std::uint64_t const stream = 100 + 16 * static_cast<std::uint64_t>(plan.rank.value()) + index.position;
  auto const x = integers<T>(batch, stream, input_rows(stage));
  auto const y = integers<T>(batch, stream + 1000, output_rows(stage));
  T const poison = narrowed<T>(-12345.0F);
  std::vector<T> sx(y.size(), poison);
  std::vector<T> sty(x.size(), poison);
  runner.forward(plan, index, view(x, batch.hidden), view(sx, batch.hidden));
  runner.backward(plan, index, view(y, batch.hidden), view(sty, batch.hidden));
  return {dot(sx, y), dot(x, sty)};
}

/// Runs body(plan, rank's batch, comm) on all ranks of a run.
template <typename Body>
void on_ranks(RecipeBatch const& batch, RecipeRun const& run, Body const& body) {
  auto const scheduler = cpu::make_cooperative_scheduler(batch.seed);
  cpu::run_ranks(*scheduler, run.grid.world(), {}, [&](Communicator& comm) {
    auto const part = support::rank_batch(batch, run, comm.rank().value());
    auto const placement = ExpertPlacement::contiguous(1, batch.experts, run.grid.ep);
    body(support::plan_of(run, comm, part.routing, placement), part, comm);
  });
}

/// The identities of all stages of one list. @return how many of them say something: integers may add up to 0 by chance
template <typename T>
std::size_t check_list(RecipeBatch const& batch, RecipeRun const& run, StageList list) {
  std::vector<std::vector<Identity>> of_rank(static_cast<std::size_t>(run.grid.world()));
  on_ranks(batch, run, [&](DispatchPlan const& plan, support::RankBatch const&, Communicator& comm) {
    cpu::StageRunner runner(comm);
    auto const count = list == StageList::stages ? plan.stages.size() : plan.row_return.size();
    for (std::size_t position = 0; position < count; ++position)
      of_rank[plan.rank.index()].push_back(check_stage<T>(batch, plan, {list, position}, runner));
  });
  std::size_t telling = 0;
  for (std::size_t position = 0; position < of_rank.front().size(); ++position) {
    CAPTURE(position);
    Identity sum;
    for (auto const& rank : of_rank) {
      sum.forward += rank.at(position).forward;
      sum.backward += rank.at(position).backward;
    }
    telling += sum.forward != 0 ? 1 : 0;
    CHECK(sum.forward == sum.backward);
  }
  return telling;
}

template <typename T>
std::vector<T> wide_rows(RecipeBatch const& batch, std::uint64_t stream, std::int64_t rows) {
  std::vector<T> values;
  for (std::int64_t i = 0; i < rows * batch.hidden; ++i)
    values.push_back(narrowed<T>(support::wide_value(batch.rng(stream), static_cast<std::uint64_t>(i), 8)));
  return values;
}

template <typename T>
std::vector<std::uint64_t> codes_of(std::vector<T> const& rows) {
  std::vector<std::uint64_t> codes;
  for (T const value : rows) codes.push_back(oracle::code_of(value));
  return codes;
}

/// All stages of a rank, then their transposes in reverse, against the executor.
template <typename T>
void check_chain(RecipeBatch const& batch, RecipeRun const& run) {
  on_ranks(batch, run, [&](DispatchPlan const& plan, support::RankBatch const& part, Communicator& comm) {
    cpu::StageRunner runner(comm);
    cpu::CpuExecutor executor(comm);
    std::uint64_t const stream = 300 + static_cast<std::uint64_t>(plan.rank.value());
    auto const tokens = wide_rows<T>(batch, stream, plan.num_tokens);
    auto rows = tokens;
    for (std::size_t i = 0; i < plan.stages.size(); ++i) {
      std::vector<T> out(static_cast<std::size_t>(output_rows(plan.stages[i]) * batch.hidden), narrowed<T>(-7.0F));
      runner.forward(plan, {StageList::stages, i}, view(std::as_const(rows), batch.hidden), view(out, batch.hidden));
      rows = out;
    }
    std::vector<T> expected(rows.size());
    executor.dispatch(plan, view(tokens, batch.hidden), view(expected, batch.hidden));
    CHECK(codes_of(rows) == codes_of(expected));

    auto const gradients = wide_rows<T>(batch, stream + 100, plan.num_expert_rows());
    auto back = gradients;
    for (std::size_t i = plan.stages.size(); i-- > 0;) {
      std::vector<T> out(static_cast<std::size_t>(input_rows(plan.stages[i]) * batch.hidden), narrowed<T>(-7.0F));
      runner.backward(plan, {StageList::stages, i}, view(std::as_const(back), batch.hidden), view(out, batch.hidden));
      back = out;
    }
    std::vector<T> token_gradients(tokens.size());
    executor.dispatch_backward(plan, run.recipe, view(gradients, batch.hidden), part.routing.ids(),
                               view(token_gradients, batch.hidden));
    CHECK(codes_of(back) == codes_of(token_gradients));
  });
}

}  // namespace

TEST_CASE_TEMPLATE("inner products are kept by every stage alone", T, float, bf16_t, f16_t) {
  RecipeBatch batch;
  batch.hidden = 3;
  std::size_t stages = 0;
  support::for_all_runs(kGrids, [&](RecipeRun const& run) {
    if (run.grid.ep * 4 > batch.experts) return;
    for (auto const list : {StageList::stages, StageList::row_return}) stages += check_list<T>(batch, run, list);
  });
  CHECK(stages > 150);
}

TEST_CASE_TEMPLATE("stages in a row are the dispatch; their transposes in reverse are its gradient", T, float, bf16_t,
                   f16_t) {
  RecipeBatch batch;
  batch.seed = 5;
  batch.hidden = 6;
  support::for_all_runs(kGrids, [&](RecipeRun run) {
    bool const partials = run.dispatcher == Dispatcher::allgather || run.dispatcher == Dispatcher::flex;
    // With TP the executor joins TP partials before it sums ranks; the stages of these two add all ranks in one go.
    if (partials && run.grid.tp > 1) return;
    run.recipe = partials ? CombineRecipe::rank_partial() : CombineRecipe::source_slot_order();
    if (run.dispatcher == Dispatcher::flex) run.recipe = CombineRecipe::rank_partial(Rounding::row);
    check_chain<T>(batch, run);
  });
}

TEST_CASE("a sum is fp32 and rounded once; an empty bin's gradient is not read, a dropped row's is zero") {
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](Communicator& comm) {
    cpu::StageRunner runner(comm);
    std::vector<RoutingMap> const routings{RoutingMap::from_topk(2, 3, 3, {0, 1, 2, 0, 1, -1}, {1, 1, 1, 1, 1, 1})};
    auto const placement = ExpertPlacement::contiguous(1, 3, 1);
    AllToAllConfig alltoall;
    auto const plan = plan_alltoall_group(alltoall, routings, placement, 0).front();
    std::vector<bf16_t> const gradients{to_bf16(256), to_bf16(8), to_bf16(1), to_bf16(-8), to_bf16(1)};
    std::vector<bf16_t> sums(2);
    runner.backward(plan, {StageList::stages, 0}, view(gradients, 1), view(sums, 1));
    CHECK(to_float(sums[0]) == 258.0F);  // rows 256 (expert 0), 1 (expert 1), 1 (expert 2)
    CHECK(to_float(sums[1]) == 0.0F);    // 8 - 8

    MegaBlocksConfig blocks;
    blocks.bins = ExpertBins::blocks;
    blocks.block_rows = 4;
    auto const binned = plan_megablocks_group(blocks, routings, placement, 0).front();
    float const nan = std::nanf("");
    std::vector<float> const rows{1, 2, nan, nan, 4, 8, nan, nan, 16, nan, nan, nan};
    std::vector<float> tokens(2);
    runner.backward(binned, {StageList::stages, 0}, view(rows, 1), view(tokens, 1));
    CHECK(tokens == std::vector<float>{1 + 4 + 16, 2 + 8});
    CHECK(support::contains(
        support::error_text(ErrorCode::invalid_argument,
                            [&] {
                              runner.forward(plan, {StageList::row_return, 0}, view(gradients, 1), view(sums, 1));
                              return 0;
                            }),
        "stage 0 of 0 in its row_return"));
  });
}
