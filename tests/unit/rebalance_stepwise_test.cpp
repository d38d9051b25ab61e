// SPDX-License-Identifier: Apache-2.0
/// RebalanceExecutor beyond execute(): layer by layer while serving, profile, dead ranks, slots checked after the
/// write, and a failure at every numbered step of all of it.
///
/// Worked example of a dead rank: ranks 0 to 3 have one slot each and hold 0 1 1 3; the target is 1 0 1 3; rank 1 is
/// dead. Rank 2 is the only sender of expert 1 then, and the slot that wanted 0 died with its rank, so one row travels:
/// from 2 to 0. In a group of the three living ranks they are ranks 0, 1, 2.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "support/error_text.hpp"
#include "support/random_placements.hpp"
#include "support/schedule_exec_cases.hpp"
#include "switchyard/cpu/internal/fault_hook.hpp"
#include "switchyard/rebalance/reachable_plan.hpp"

namespace switchyard::test {
namespace {

using cpu::RebalanceExecutor;

/// Two layers of 4 ranks x 3 slots with local copies, duplicates and empty slots (reference 1.6 and a second layer).
RebalancePlan two_layers() {
  auto const schedule = worked(-1);
  return plan_rebalance(schedule.before, schedule.after);
}

/// The rank of the plan that a member of a group without `dead` is.
RankId rank_of_member(Communicator const& comm, int num_ranks, std::vector<RankId> const& dead) {
  if (comm.size() == num_ranks) return comm.rank();
  std::int32_t rank = -1;
  for (int member = 0; member <= comm.rank().value(); ++member) do
      ++rank;
    while (std::ranges::count(dead, RankId(rank)) > 0);
  return RankId(rank);
}

/// What one rank of a plan has to do.
struct Job {
  RebalancePlan const& plan;
  Way way;
  std::vector<RankId> dead{};

  [[nodiscard]] RebalanceOptions options() const {
    RebalanceOptions options = options_of(way);
    options.dead_ranks = dead;
    return options;
  }
};

/// Carries a job out on one rank and notes the end, whatever it is.
void run_job(Job const& job, Communicator& comm, TaggedWeights const& memory, RankAfter& after,
             cpu::RebalanceStepHook const& hook = nullptr) {
  RebalanceExecutor executor(job.plan, job.options());
  cpu::RebalanceExecutorAccess::set_step_hook(executor, hook);
  auto const note_end = [&] {
    after.committed = executor.committed_placement();
    after.result = executor.result();
  };
  try {
    carry_out(executor, job.way, job.plan.before.num_layers(), comm, memory.weights());
  } catch (...) {
    note_end();
    throw;
  }
  note_end();
}

TEST_CASE("a plan's layer serves the old map until its commit, in any order of layers") {
  auto const plan = two_layers();
  for (RebalanceMode mode : {RebalanceMode::buffered, RebalanceMode::in_place}) {
    Cluster const cluster(plan.before);
    require_all_ended_well(make_fiber_harness(5)->run(4, CheckLevel::digest, [&](Communicator& comm) {
      auto const r = comm.rank();
      TaggedWeights const& memory = *cluster.memory[r.index()];
      RebalanceExecutor executor(plan, {.mode = mode});
      executor.begin(comm, memory.weights(), 1);
      CHECK(rows_are_right(memory, plan.before, r));
      CHECK(executor.poll());
      CHECK(executor.poll());
      CHECK(executor.committed_placement() == plan.before);
      CHECK(rows_are_right(memory, plan.before, r));
      executor.commit();
      auto const now = executor.committed_placement();
      CHECK(std::ranges::equal(now.layer(0), plan.before.layer(0)));
      CHECK(std::ranges::equal(now.layer(1), plan.after.layer(1)));
      CHECK(rows_are_right(memory, now, r));
      executor.execute(comm, memory.weights());  // the rest
      CHECK(rows_are_right(memory, plan.after, r));
      CHECK(executor.layers_committed() == 2);
    }));
  }
}

TEST_CASE("the compatible plan moves the right bytes in every way, on threads and fibers") {
  auto const plan = two_layers();
  for (auto const& harness : all_cpu_harnesses())
    for (Way way : kWays) {
      INFO(harness->name(), ", ", std::string(name_of(way)));
      Cluster const cluster(plan.before);
      std::vector<RankAfter> ranks(4);
      require_all_ended_well(harness->run(4, CheckLevel::full, [&](Communicator& comm) {
        auto const r = comm.rank().index();
        run_job({plan, way}, comm, *cluster.memory[r], ranks[r]);
      }));
      auto const& expected = way == Way::profile ? plan.before : plan.after;
      for (std::size_t r = 0; r < 4; ++r) {
        TaggedWeights::Checked checked;
        auto const wrong = cluster.memory[r]->first_mismatch(expected, checked);
        CHECK_MESSAGE(!wrong, wrong->text);
        CHECK(ranks[r].committed == expected);
      }
    }
}

TEST_CASE("a profile exchanges what the move will, and changes nothing") {
  auto const plan = two_layers();
  Cluster const cluster(plan.before);
  require_all_ended_well(make_fiber_harness(0)->run(4, CheckLevel::digest, [&](Communicator& comm) {
    auto const& memory = *cluster.memory[comm.rank().index()];
    RebalanceExecutor executor(plan, {.mode = RebalanceMode::in_place});
    auto const first = executor.profile(comm, memory.weights());
    auto const again = executor.profile(comm, memory.weights());
    CHECK(rows_are_right(memory, plan.before, comm.rank()));
    CHECK(executor.layers_committed() == 0);
    auto const moved = executor.execute(comm, memory.weights());
    for (auto const& profile : {first, again}) {
      CHECK(profile.bytes_sent == moved.bytes_sent);
      CHECK(profile.bytes_received == moved.bytes_received);
      CHECK(profile.bytes_copied == 0);
    }
    CHECK(rows_are_right(memory, plan.after, comm.rank()));
  }));
}

TEST_CASE("the worked dead rank: left out of the group or idle in it, and what died is reloaded") {
  auto const before = placement(4, {1, 1, 1, 1}, {0, 1, 1, 3});
  auto const after = placement(4, {1, 1, 1, 1}, {1, 0, 1, 3});
  auto const reachable = plan_reachable(before, after, {}, {RankId(1), RankId(1)});
  CHECK(reachable.dead_ranks == std::vector<RankId>{RankId(1)});
  CHECK(reachable.reloads.empty());
  CHECK(validate(reachable.plan).empty());
  REQUIRE(reachable.plan.layers[0].ranks[2].sends.size() == 1);
  CHECK(reachable.plan.layers[0].ranks[2].sends[0].to == RankId(0));
  for (int group : {3, 4})
    for (Way way : kWays) {
      INFO("group of ", group, ", ", std::string(name_of(way)));
      Cluster const cluster(before);
      require_all_ended_well(make_fiber_harness(1)->run(group, CheckLevel::digest, [&](Communicator& comm) {
        RankId const rank = rank_of_member(comm, 4, reachable.dead_ranks);
        RankAfter end;
        run_job({reachable.plan, way, reachable.dead_ranks}, comm, *cluster.memory[rank.index()], end);
        auto const& expected = way == Way::profile ? reachable.plan.before : reachable.plan.after;
        CHECK(rows_are_right(*cluster.memory[rank.index()], expected, rank));
        CHECK(rows_are_right(*cluster.memory[1], before, RankId(1)));
      }));
    }
  // With rank 2 dead too nobody holds expert 1.
  auto const lost = plan_reachable(before, after, {}, {RankId(2), RankId(1)});
  CHECK(lost.reloads == std::vector<Reload>{{0, RankId(0), LocalExpertId(0), ExpertId(1)}});
  CHECK(validate(lost.plan).empty());
}

TEST_CASE("a plan that needs a dead rank, and dead ranks that do not fit, are refused") {
  auto const plan = two_layers();
  auto const refusal = [&](ErrorCode code, RebalancePlan const& bad, std::vector<RankId> dead) {
    return support::error_text(code, [&] {
      RebalanceExecutor const executor(bad, {.dead_ranks = dead});
      return executor.layers_committed();
    });
  };
  CHECK(support::contains(refusal(ErrorCode::invalid_plan, plan, {RankId(2)}),
                          "rank 2 is dead and the plan gives it slots or transfers in layer 0"));
  CHECK(support::contains(refusal(ErrorCode::invalid_argument, plan, {RankId(4)}), "dead rank 4 is outside"));
  auto const schedule = worked(-1);
  CHECK(support::contains(support::error_text(ErrorCode::invalid_argument,
                                              [&] {
                                                ScheduleExecutor const executor(schedule, {.dead_ranks = {RankId(0)}});
                                                return executor.result().layers_committed;
                                              }),
                          "which names its own"));
  auto const reachable = plan_reachable(plan.before, plan.after, {}, {RankId(3)});
  Cluster const cluster(plan.before);
  auto const ends = make_fiber_harness(0)->run(2, CheckLevel::digest, [&](Communicator& comm) {
    RankAfter end;
    run_job({reachable.plan, Way::in_place, reachable.dead_ranks}, comm, *cluster.memory[comm.rank().index()], end);
  });
  require_contains(ends[0].text, "the plan is for 4 ranks, 1 of them dead, the group has 2");
  // Ranks that disagree about who is dead would number the group differently.
  auto const other = make_fiber_harness(0)->run(4, CheckLevel::digest, [&](Communicator& comm) {
    RankAfter end;
    std::vector<RankId> const dead = comm.rank().value() == 0 ? std::vector<RankId>{} : reachable.dead_ranks;
    run_job({reachable.plan, Way::in_place, dead}, comm, *cluster.memory[comm.rank().index()], end);
  });
  require_contains(require_same_error(other, ErrorCode::desync), "agree on the plan");
}

TEST_CASE("calls out of order are refused") {
  auto const plan = two_layers();
  auto const text = [&](auto const& body) {
    Cluster const cluster(plan.before);
    return make_fiber_harness(0)
        ->run(4, CheckLevel::digest,
              [&](Communicator& comm) {
                RebalanceExecutor executor(plan);
                body(executor, comm, cluster.memory[comm.rank().index()]->weights());
              })[0]
        .text;
  };
  using Weights = RegisteredWeights;
  require_contains(text([](auto& e, Communicator&, Weights const&) { e.poll(); }), "call begin() first");
  require_contains(text([](auto& e, Communicator&, Weights const&) { e.commit(); }), "not every row is there");
  require_contains(text([](auto& e, Communicator& c, Weights const& w) { e.begin(c, w, 2); }), "layer 2 is outside");
  require_contains(text([](auto& e, Communicator& c, Weights const& w) {
                     e.begin(c, w, 0);
                     e.commit();
                   }),
                   "not every row is there");
  require_contains(text([](auto& e, Communicator& c, Weights const& w) {
                     e.begin(c, w, 0);
                     e.execute(c, w);
                   }),
                   "a layer is under way");
  require_contains(text([](auto& e, Communicator& c, Weights const& w) {
                     e.begin(c, w, 0);
                     e.poll();
                     e.commit();
                     e.begin(c, w, 0);
                   }),
                   "moved already");
}

TEST_CASE("a slot that changes after it was written is found") {
  auto const plan = plan_rebalance(placement(2, {2, 1}, {0, 0, 1}), placement(2, {2, 1}, {1, 1, 0}));
  for (bool verify : {true, false})
    for (int row : {0, 1}) {  // the received row and its duplicate
      Cluster const cluster(plan.before);
      auto const ends = make_fiber_harness(0)->run(2, CheckLevel::digest, [&](Communicator& comm) {
        auto const& weights = cluster.memory[comm.rank().index()]->weights();
        RebalanceExecutor executor(plan, {.mode = RebalanceMode::in_place, .verify_rows = verify});
        cpu::RebalanceExecutorAccess::set_step_hook(executor, [&](RebalanceStep const& step) {
          if (step.kind == RebalanceStepKind::verify_written && comm.rank().value() == 0)
            weights.row(0, 1, LocalExpertId(row))[2] ^= std::byte{1};
        });
        executor.execute(comm, weights);
      });
      CHECK(ends[0].failed == verify);
      if (verify) require_contains(ends[0].text, "layer 0, expert 1, tensor 1: 9 bytes written in row");
    }
}

/// The survivors plan again from what they have, without the victim and who was dead before, and end where they wanted.
void move_on(Job const& job, Cluster const& cluster, ExpertPlacement const& now, RankId victim) {
  std::vector<RankId> dead = job.dead;
  dead.push_back(victim);
  auto const next = plan_reachable(now, job.plan.after, {}, dead);
  int const all = now.num_ranks();
  int const survivors = all - static_cast<int>(next.dead_ranks.size());
  if (survivors == 0) return;
  require_all_ended_well(make_fiber_harness(0)->run(survivors, CheckLevel::digest, [&](Communicator& comm) {
    RankId const rank = rank_of_member(comm, all, next.dead_ranks);
    RankAfter end;
    run_job({next.plan, Way::in_place, next.dead_ranks}, comm, *cluster.memory[rank.index()], end);
    REQUIRE(rows_are_right(*cluster.memory[rank.index()], next.plan.after, rank));
  }));
}

/// Every layer is as before or as after, the same on all survivors, and their bytes are what they say.
void check_end(Job const& job, Cluster const& cluster, std::vector<RankAfter> const& ranks, RankId victim,
               RebalanceStep const& failed_at) {
  ExpertPlacement const* now = nullptr;
  for (RankId rank(0); rank.index() < ranks.size(); ++rank) {
    if (rank == victim || std::ranges::count(job.dead, rank) > 0) continue;
    INFO("survivor ", rank.value());
    now = now == nullptr ? &ranks[rank.index()].committed : now;
    REQUIRE(ranks[rank.index()].committed == *now);
    REQUIRE(rows_are_right(*cluster.memory[rank.index()], *now, rank));
  }
  if (now == nullptr) return;
  for (int layer = 0; layer < now->num_layers(); ++layer) {
    bool const old = std::ranges::equal(now->layer(layer), job.plan.before.layer(layer));
    REQUIRE((old || std::ranges::equal(now->layer(layer), job.plan.after.layer(layer))));
  }
  if (job.way == Way::buffered) REQUIRE(*now == (failed_at.committing ? job.plan.after : job.plan.before));
  if (job.way == Way::profile) REQUIRE(*now == job.plan.before);
  move_on(job, cluster, *now, victim);
}

/// @return how many failures were injected.
int fail_at_every_step(RankHarness& harness, Job const& job) {
  int failures = 0;
  int const num_ranks = job.plan.before.num_ranks();
  int const group = num_ranks - static_cast<int>(job.dead.size());
  for (int member = 0; member < group; ++member)
    for (int number = 0;; ++number) {
      INFO(harness.name(), ", ", std::string(name_of(job.way)), ", member ", member, " fails at step ", number);
      Cluster const cluster(job.plan.before);
      std::vector<RankAfter> ranks(static_cast<std::size_t>(num_ranks));
      std::optional<RebalanceStep> failed_at;
      RankId victim;
      auto const ends = harness.run(group, CheckLevel::digest, [&](Communicator& comm) {
        RankId const rank = rank_of_member(comm, num_ranks, job.dead);
        cpu::RebalanceStepHook hook;
        if (comm.rank().value() == member)
          hook = [&](RebalanceStep const& step) {
            if (step.number != number) return;
            failed_at = step;
            victim = rank;
            throw std::runtime_error("out of cheese");
          };
        run_job(job, comm, *cluster.memory[rank.index()], ranks[rank.index()], hook);
      });
      if (!failed_at) {
        require_all_ended_well(ends);
        break;
      }
      ++failures;
      REQUIRE(ends[static_cast<std::size_t>(member)].text == "out of cheese");
      if (group > 1) check_end(job, cluster, ranks, victim, *failed_at);
    }
  return failures;
}

TEST_CASE("a failure at every step of every rank and way leaves what the mode promises, and the survivors move on") {
  int failures = 0;
  auto const plan = two_layers();
  for (Way way : kWays)
    for (auto const& harness : {make_thread_harness(), make_fiber_harness(0), make_fiber_harness(7)})
      failures += fail_at_every_step(*harness, {plan, way});
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    INFO("placement seed ", seed);
    auto const pair = draw_placements(seed);
    auto const random = plan_rebalance(pair.before, pair.after);
    auto const reachable = plan_reachable(pair.before, pair.after, {}, {RankId(0)});
    for (Way way : kWays) {
      failures += fail_at_every_step(*make_fiber_harness(seed), {random, way});
      if (pair.before.num_ranks() > 1)
        failures += fail_at_every_step(*make_fiber_harness(seed), {reachable.plan, way, reachable.dead_ranks});
    }
  }
  MESSAGE(failures, " injected failures");
  CHECK(failures > 2000);
}

}  // namespace
}  // namespace switchyard::test
