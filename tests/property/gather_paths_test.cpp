// SPDX-License-Identifier: Apache-2.0
// The composed path gives the bytes of the staged one: all families, all recipes, TP partials and hidden shards, both
// row orders, replicas and empty slots, ranks without tokens, drops and duplicates, f32 and narrow results.
//
// By hand: ep 2, tp 1, one expert each; rank 0 has tokens a, b for experts 1, 0, rank 1 has token c for expert 0. Rank
// 0's map names (0, row 1), (1, row 0): it copies b and c straight from the tokens, where the staged path permutes to
// b, a, exchanges and sorts. On the way back rank 0 finds a's row as row 0 of rank 1, and b's as row 0 of its own.
#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "support/gather_run.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/parallel_for.hpp"

using namespace switchyard;
using cpu::ExecutionPath;
using support::Family;
using support::PathRun;
using support::ResultRows;
using support::RunCase;

namespace {

RunCase random_run(std::uint64_t seed) {
  support::Random random(seed);
  RunCase run;
  run.seed = seed;
  run.num_experts = 1 + support::draw(random, 6);
  run.top_k = 1 + support::draw(random, 4);
  std::int64_t const widths[] = {1, 3, 33, 515};
  run.hidden = widths[seed % 4];
  support::draw_input(random, run, 3, seed % 5 == 0 ? 1 : 6);  // every fifth run has no tokens at all
  return run;
}

/// Every family, and bins that drop rows: a factor of 0.5 leaves about half of them out.
std::vector<Family> families() {
  auto all = support::all_families();
  all.push_back(support::megablocks(ExpertBins::capacity, 0, 128, "megablocks without room"));
  all.back().megablocks.zero_capacity = ZeroCapacity::no_rows;
  return all;
}

template <typename T>
void check_paths(Family const& family, RunCase const& run, ResultRows results) {
  CAPTURE(family.name);
  PathRun<T> const paths(family, run, results);
  auto const scheduler = cpu::make_cooperative_scheduler(run.seed);
  auto const staged = paths.outputs(ExecutionPath::staged, *scheduler);
  auto const composed = paths.outputs(ExecutionPath::composed, *scheduler);
  REQUIRE(staged.front().size() > 1);
  for (std::size_t rank = 0; rank < staged.size(); ++rank) {
    CAPTURE(rank);
    REQUIRE(staged[rank].size() == composed[rank].size());
    for (std::size_t part = 0; part < staged[rank].size(); ++part) {
      CAPTURE(part);  // 0: dispatched rows, then recipes in the order of recipe_names()
      CHECK(staged[rank][part] == composed[rank][part]);
    }
  }
}

/// 8 ranks that all have something to say, wide enough for several tasks per rank.
RunCase busy_run() {
  support::Random random(7);
  RunCase run;
  run.num_experts = 16;
  run.top_k = 8;
  run.hidden = 1030;
  run.input.tp = 2;
  run.input.ep = 4;
  run.input.experts_of_ep = support::random_experts(random, 4, 16);
  for (int rank = 0; rank < 8; ++rank)
    run.input.routing.push_back(support::random_tokens(random, 9 + rank, 16, 8, false, false));
  return run;
}

}  // namespace

TEST_CASE_TEMPLATE("both paths give the same bytes", T, float, bf16_t, f16_t) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    auto const run = random_run(seed);
    for (auto const& family : families())
      check_paths<T>(family, run, seed % 2 == 0 ? ResultRows::f32 : ResultRows::token_dtype);
  }
}

TEST_CASE("both paths reproduce Megatron's recorded unsort") {
  int different = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    auto run = random_run(seed * 5 + 1);
    run.input.rank_major = false;
    Family const family{DispatchFamily::megatron_alltoall, {}, "alltoall"};
    PathRun<float> paths(family, run, ResultRows::f32);
    auto const scheduler = cpu::make_cooperative_scheduler();
    auto const right = paths.outputs(ExecutionPath::composed, *scheduler);
    for (auto& plan : paths.plans) plan.setup.restore = ChunkRestore::megatron_seed;
    auto const composed = paths.outputs(ExecutionPath::composed, *scheduler);
    CHECK(paths.outputs(ExecutionPath::staged, *scheduler) == composed);
    different += composed == right ? 0 : 1;
  }
  CHECK(different > 0);  // the defect shows somewhere
}

TEST_CASE("workers, schedulers and interleavings change no byte") {
  auto const run = busy_run();
  for (auto const& family : families()) {
    CAPTURE(family.name);
    PathRun<bf16_t> const paths(family, run, ResultRows::f32);
    auto const bulk = cpu::make_cooperative_scheduler();
    auto const expected = paths.outputs(ExecutionPath::staged, *bulk);
    for (int const workers : {1, 2, 7}) {
      CAPTURE(workers);
      cpu::set_worker_count(workers);
      auto const threads = cpu::make_thread_scheduler();
      CHECK(paths.outputs(ExecutionPath::composed, *threads) == expected);
      auto const fibers = cpu::make_cooperative_scheduler(static_cast<std::uint64_t>(workers));
      CHECK(paths.outputs(ExecutionPath::composed, *fibers) == expected);
    }
    cpu::set_worker_count(0);
  }
}

TEST_CASE("instruction sets change no byte of any family, recipe and dtype") {
  auto run = busy_run();
  run.hidden = 67;  // an odd tail behind every vector width
  auto const sets = cpu::available_instruction_sets();
  auto const sweep = [&](auto zero, Family const& family) {
    PathRun<decltype(zero)> const paths(family, run, ResultRows::f32);
    auto const scheduler = cpu::make_cooperative_scheduler();
    cpu::force_instruction_set(sets.front());
    auto const expected = paths.outputs(ExecutionPath::staged, *scheduler);
    for (auto const set : sets) {
      auto const name = std::string(to_string(set));
      CAPTURE(name);
      cpu::force_instruction_set(set);
      CHECK(paths.outputs(ExecutionPath::composed, *scheduler) == expected);
    }
    cpu::force_instruction_set(std::nullopt);
  };
  for (auto const& family : families()) {
    CAPTURE(family.name);
    sweep(float{}, family);
    sweep(bf16_t{}, family);
    sweep(f16_t{}, family);
  }
  MESSAGE("instruction sets compared: " << sets.size() << " of the 4 that exist on x86-64");
}

TEST_CASE("maps are made once and kept, rows then move by reads alone") {
  auto const run = busy_run();
  for (auto const& family : families()) {
    CAPTURE(family.name);
    PathRun<bf16_t> const paths(family, run, ResultRows::token_dtype);
    auto const scheduler = cpu::make_cooperative_scheduler();
    std::vector<int> reads(paths.plans.size());
    std::vector<int> late_moves(paths.plans.size());
    cpu::run_ranks(*scheduler, 8, {}, [&](Communicator& comm) {
      support::CountingCommunicator counting(comm);
      auto const rank = comm.rank();
      auto const& plan = paths.plans[rank.index()];
      cpu::CpuExecutor executor(counting, ExecutionPath::composed);
      auto const tokens = run.rows<bf16_t>(rank.value(), plan.num_tokens);
      std::vector<bf16_t> rows(static_cast<std::size_t>(plan.num_expert_rows() * run.hidden));
      std::vector<bf16_t> out(tokens.size());
      auto const routing = run.routing(rank.value());
      for (int round = 0; round < 3; ++round) {
        int const before = counting.moves();
        executor.dispatch(plan, ConstTensorView::matrix(std::span<bf16_t const>(tokens), plan.num_tokens, run.hidden),
                          TensorView::matrix(std::span(rows), plan.num_expert_rows(), run.hidden));
        executor.combine(plan, {},
                         ConstTensorView::matrix(std::span<bf16_t const>(rows), plan.num_expert_rows(), run.hidden),
                         routing.weights(), TensorView::matrix(std::span(out), plan.num_tokens, run.hidden));
        if (round > 0) late_moves[rank.index()] += counting.moves() - before;
      }
      reads[rank.index()] = counting.reads();
    });
    CHECK(reads == std::vector<int>(8, 6));
    CHECK(late_moves == std::vector<int>(8, 0));
  }
}

TEST_CASE("one executor runs changing plans, also when only another rank's plan changes") {
  RunCase first = busy_run();
  first.hidden = 5;
  first.input.experts_of_ep = support::contiguous_experts(4, 4);  // no replicas, whose choice depends on the token
  RunCase second = first;
  std::swap(second.input.routing[5][0], second.input.routing[5][3]);  // equal counts: no other rank's plan changes
  Family const family{DispatchFamily::megatron_alltoall, {}, "alltoall"};
  PathRun<bf16_t> const one(family, first, ResultRows::f32);
  PathRun<bf16_t> const two(family, second, ResultRows::f32);
  REQUIRE(one.plans[0] == two.plans[0]);
  REQUIRE(one.plans[5] != two.plans[5]);
  auto const scheduler = cpu::make_cooperative_scheduler();
  auto const expected_one = one.outputs(ExecutionPath::staged, *scheduler);
  auto const expected_two = two.outputs(ExecutionPath::staged, *scheduler);
  REQUIRE(expected_one != expected_two);
  cpu::run_ranks(*scheduler, 8, {}, [&](Communicator& comm) {
    cpu::CpuExecutor executor(comm, ExecutionPath::composed);
    auto const rank = comm.rank();
    for (int round = 0; round < 2; ++round) {
      CHECK(one.rank_outputs(executor, rank) == expected_one[rank.index()]);
      CHECK(two.rank_outputs(executor, rank) == expected_two[rank.index()]);
    }
  });
}

TEST_CASE("a communicator without shared memory runs staged, or refuses to run composed") {
  auto const run = random_run(3);
  Family const family{DispatchFamily::megatron_alltoall, {}, "alltoall"};
  PathRun<float> const paths(family, run, ResultRows::f32);
  int const ranks = static_cast<int>(paths.plans.size());
  auto const scheduler = cpu::make_cooperative_scheduler();
  auto const expected = paths.outputs(ExecutionPath::staged, *scheduler);
  cpu::run_ranks(*scheduler, ranks, {}, [&](Communicator& comm) {
    support::PlainCommunicator plain(comm);
    cpu::CpuExecutor executor(plain);
    CHECK(paths.rank_outputs(executor, comm.rank()) == expected[comm.rank().index()]);
    if (ranks > 1) CHECK(plain.moves() > 0);
  });
  cpu::GroupOptions checked;
  checked.check = CheckLevel::full;
  cpu::run_ranks(*scheduler, ranks, checked, [&](Communicator& comm) {
    cpu::CpuExecutor executor(comm);
    CHECK(paths.rank_outputs(executor, comm.rank()) == expected[comm.rank().index()]);
  });
  auto const outcomes = cpu::run_ranks_collect(*scheduler, ranks, checked, [&](Communicator& comm) {
    cpu::CpuExecutor executor(comm, ExecutionPath::composed);
    (void)paths.rank_outputs(executor, comm.rank());
  });
  CHECK(outcomes.front().code == ErrorCode::unsupported);
}
