// SPDX-License-Identifier: Apache-2.0
// A dispatch in two halves: planning while rows are in flight changes no byte, whoever does it, and a started call that
// is not finished as it should be ends the group for everybody.
//
// By hand: two ranks; rank 0 starts its dispatch, plans the sort of what will arrive and only then waits, although rank
// 1 has not called anything yet. With an exchange in one piece rank 0 could not plan before rank 1 had come.
#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/error_text.hpp"
#include "support/gather_run.hpp"
#include "switchyard/cpu/split_calls.hpp"

using namespace switchyard;
using cpu::ExecutionPath;
using support::contains;
using support::Family;
using support::RunCase;

namespace {

/// How a rank dispatches.
enum class Way { one_piece, plan_first, plan_in_flight, hidden_interface };
constexpr Way kWays[] = {Way::one_piece, Way::plan_first, Way::plan_in_flight, Way::hidden_interface};

RunCase random_run(std::uint64_t seed) {
  support::Random random(seed);
  RunCase run;
  run.seed = seed;
  run.num_experts = 1 + support::draw(random, 6);
  run.top_k = 1 + support::draw(random, 4);
  run.hidden = 1 + static_cast<std::int64_t>(seed % 5);
  support::draw_input(random, run, 2, seed % 6 == 0 ? 1 : 6);
  return run;
}

/// Tokens and poisoned rows of one rank.
struct Memory {
  std::vector<bf16_t> tokens, rows;
  std::int64_t num_tokens, hidden;
  Memory(RunCase const& run, DispatchPlan const& plan)
      : tokens(run.rows<bf16_t>(plan.rank.value(), plan.num_tokens)),
        rows(static_cast<std::size_t>(plan.num_expert_rows() * run.hidden), bf16_t{0x4321}),
        num_tokens(plan.num_tokens),
        hidden(run.hidden) {}
  [[nodiscard]] ConstTensorView in() const {
    return ConstTensorView::matrix(std::span<bf16_t const>(tokens), num_tokens, hidden);
  }
  TensorView out() {
    auto const count = hidden == 0 ? 0 : static_cast<std::int64_t>(rows.size()) / hidden;
    return TensorView::matrix(std::span(rows), count, hidden);
  }
};

/// The plan up to its exchange, as complete_megablocks() wants it.
struct Halves {
  MegaBlocksConfig config;
  ExpertPlacement placement;
  std::vector<std::int64_t> counts;
  std::vector<DispatchPlan> sends;
};

Halves halves_of(Family const& family, RunCase const& run) {
  Halves halves{
      support::megablocks_config(family, run.input), support::placement_of(run.input, run.num_experts), {}, {}};
  std::vector<RowAssignment> assignments;
  for (int rank = 0; rank < halves.config.world; ++rank) {
    assignments.push_back(
        assign_megablocks_rows(halves.config, RankId{rank}, run.routing(rank), halves.placement, run.input.layer));
    auto const& rows = assignments.back().rows_per_slot;
    halves.counts.insert(halves.counts.end(), rows.begin(), rows.end());
  }
  for (auto& assignment : assignments)
    halves.sends.push_back(
        plan_megablocks_sends(halves.config, std::move(assignment), halves.placement, run.input.layer, halves.counts));
  return halves;
}

std::vector<std::vector<std::byte>> run_ways(RunCase const& run, std::vector<DispatchPlan> const& plans,
                                             Halves const* halves, std::vector<Way> const& ways,
                                             cpu::Scheduler& scheduler) {
  std::vector<std::vector<std::byte>> bytes(plans.size());
  cpu::run_ranks(scheduler, static_cast<int>(plans.size()), {}, [&](Communicator& comm) {
    auto const rank = comm.rank().index();
    support::PlainCommunicator plain(comm);
    bool const hides = ways[rank] == Way::hidden_interface;
    cpu::CpuExecutor executor(hides ? static_cast<Communicator&>(plain) : comm, ExecutionPath::staged);
    auto const& plan = plans[rank];
    Memory memory(run, plan);
    if (ways[rank] == Way::one_piece) {
      executor.dispatch(plan, memory.in(), memory.out());
    } else if (halves != nullptr && ways[rank] != Way::plan_first) {
      executor.start_dispatch(halves->sends[rank], memory.in());
      auto const completed =
          complete_megablocks(halves->config, halves->sends[rank], halves->placement, halves->counts);
      CHECK(completed == plan);
      executor.finish_dispatch(completed, memory.out());
    } else {
      executor.start_dispatch(plan, memory.in());
      executor.finish_dispatch(plan, memory.out());
    }
    bytes[rank] = support::bytes_of(memory.rows);
  });
  return bytes;
}

/// Two ranks with something for each other.
RunCase pair_run() {
  support::Random random(3);
  RunCase run;
  run.num_experts = 4;
  run.top_k = 2;
  run.hidden = 3;
  run.input.ep = 2;
  run.input.tp = 1;
  run.input.experts_of_ep = support::contiguous_experts(2, 2);
  for (int rank = 0; rank < 2; ++rank)
    run.input.routing.push_back(support::random_tokens(random, 4, 4, 2, false, false));
  return run;
}

Family blocks() {
  return support::megablocks(ExpertBins::blocks, 0, 4, "megablocks blocks");
}

}  // namespace

TEST_CASE("the order of work changes no byte of any family, and ranks may differ in it") {
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    CAPTURE(seed);
    auto const run = random_run(seed);
    support::Random random(seed + 100);
    for (auto const& family : support::all_families()) {
      CAPTURE(family.name);
      auto const plans = support::plan_group(family, run);
      bool const megablocks = family.family == DispatchFamily::megablocks;
      Halves const halves =
          megablocks ? halves_of(family, run) : Halves{{}, support::placement_of(run.input, run.num_experts), {}, {}};
      auto const fibers = cpu::make_cooperative_scheduler(seed);
      std::vector<Way> ways(plans.size(), Way::one_piece);
      auto const expected = run_ways(run, plans, nullptr, ways, *fibers);
      for (int mix = 0; mix < 3; ++mix) {
        for (Way& way : ways) way = kWays[support::draw(random, 4)];
        CHECK(run_ways(run, plans, megablocks ? &halves : nullptr, ways, *fibers) == expected);
      }
      auto const threads = cpu::make_thread_scheduler();
      ways.assign(plans.size(), Way::plan_in_flight);
      CHECK(run_ways(run, plans, megablocks ? &halves : nullptr, ways, *threads) == expected);
    }
  }
}

TEST_CASE("a rank plans while its rows are in flight, before its peer has called") {
  auto const run = pair_run();
  auto const plans = support::plan_group(blocks(), run);
  auto const halves = halves_of(blocks(), run);
  std::vector<std::string> events;
  auto const scheduler = cpu::make_cooperative_scheduler();  // rank 0 runs until it waits
  cpu::run_ranks(*scheduler, 2, {}, [&](Communicator& comm) {
    auto const rank = comm.rank().index();
    auto const note = [&](char const* what) { events.push_back(std::to_string(rank) + what); };
    cpu::CpuExecutor executor(comm);
    Memory memory(run, plans[rank]);
    executor.start_dispatch(halves.sends[rank], memory.in());
    note(" started");
    auto const plan = complete_megablocks(halves.config, halves.sends[rank], halves.placement, halves.counts);
    note(" planned");
    executor.finish_dispatch(plan, memory.out());
    note(" finished");
  });
  std::vector<std::string> const expected{"0 started", "0 planned", "1 started", "1 planned"};
  CHECK(std::vector<std::string>(events.begin(), events.begin() + 4) == expected);
}

TEST_CASE("a dispatch that was started must be finished, once, by its own plan and before anything else") {
  auto const run = pair_run();
  auto const plans = support::plan_group(blocks(), run);
  auto other_run = pair_run();
  other_run.input.routing[1].pop_back();
  auto const other_plans = support::plan_group(blocks(), other_run);
  auto const outcomes = [&](auto const& misbehave) {
    auto const scheduler = cpu::make_cooperative_scheduler(2);
    return cpu::run_ranks_collect(*scheduler, 2, {}, [&](Communicator& comm) {
      cpu::CpuExecutor executor(comm);
      Memory memory(run, plans[comm.rank().index()]);
      executor.start_dispatch(plans[comm.rank().index()], memory.in());
      if (comm.rank() == RankId{1}) misbehave(comm, executor, memory);
      executor.finish_dispatch(plans[comm.rank().index()], memory.out());
    });
  };
  auto const gone = outcomes([](Communicator&, cpu::CpuExecutor&, Memory&) { throw std::runtime_error("tea time"); });
  CHECK(contains(gone[1].text, "tea time"));
  CHECK(gone[0].code == ErrorCode::aborted);
  auto const twice = outcomes([&](Communicator&, cpu::CpuExecutor& executor, Memory& memory) {
    executor.start_dispatch(plans[1], memory.in());
  });
  CHECK(contains(twice[1].text, "another is in flight"));
  auto const other_call = outcomes([&](Communicator& comm, cpu::CpuExecutor&, Memory&) { comm.barrier(); });
  CHECK(contains(other_call[1].text, "finish that one first"));
  CHECK(other_call[0].failed);
  auto const wrong = outcomes([&](Communicator&, cpu::CpuExecutor& executor, Memory&) {
    Memory memory(other_run, other_plans[1]);
    executor.finish_dispatch(other_plans[1], memory.out());
  });
  CHECK(wrong[1].code == ErrorCode::invalid_plan);
  CHECK(contains(wrong[1].text, "another plan than it started with"));
  CHECK(wrong[0].failed);
  auto const again = outcomes([&](Communicator&, cpu::CpuExecutor& executor, Memory& memory) {
    executor.finish_dispatch(plans[1], memory.out());
  });
  CHECK(again[1].code == ErrorCode::invalid_argument);
  CHECK(contains(again[1].text, "has not started"));
}

TEST_CASE("halves that do not fit are refused before anything moves") {
  auto const run = pair_run();
  auto const halves = halves_of(blocks(), run);
  CHECK_FALSE(validate(halves.sends[0]).empty());
  auto altered = halves.sends[0];
  std::get<RowGather>(altered.stages[0]).token_of_row[0] = 99;
  auto const scheduler = cpu::make_cooperative_scheduler();
  Memory memory(run, support::plan_group(blocks(), run)[0]);
  auto const outcomes = cpu::run_ranks_collect(*scheduler, 2, {}, [&](Communicator& comm) {
    if (comm.rank() == RankId{0}) cpu::CpuExecutor(comm).start_dispatch(altered, memory.in());
  });
  CHECK(contains(outcomes[0].text, "a copy of token 99"));
  CHECK(contains(support::error_text(ErrorCode::invalid_plan,
                                     [&] {
                                       auto config = halves.config;
                                       config.block_rows = 8;
                                       return complete_megablocks(config, halves.sends[0], halves.placement,
                                                                  halves.counts);
                                     }),
                 "another configuration"));
}
