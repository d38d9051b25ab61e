// SPDX-License-Identifier: Apache-2.0
/// ScheduleExecutor: a failure at every numbered step of every rank, after which the survivors move on.
///
/// Worked example: ranks 0 and 1 with one slot each swap experts 0 and 1 with one spare row. Round 0 brings both into
/// the spare rows, the acknowledgement follows, then each rank writes its slot. If rank 1 fails before the
/// acknowledgement, rank 0 has 0 | 1 and expert 1 is to be reloaded; afterwards it has 1 | 0, and expert 0 is.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <set>
#include <stdexcept>

#include "support/random_placements.hpp"
#include "support/schedule_exec_cases.hpp"

namespace switchyard::test {
namespace {

/// Experts that `after` needs and that no survivor holds any more; the victim took them along.
std::set<std::pair<int, int>> lost_experts(RebalanceSchedule const& schedule, std::vector<RankAfter> const& ranks,
                                           int victim) {
  std::set<std::pair<int, int>> lost;
  for (int layer = 0; layer < schedule.after.num_layers(); ++layer)
    for (ExpertId const expert : schedule.after.layer(layer))
      if (expert.valid()) lost.insert({layer, expert.value()});
  for (RankId rank(0); rank.index() < ranks.size(); ++rank) {
    if (rank.value() == victim) continue;
    for (int layer = 0; layer < schedule.after.num_layers(); ++layer)
      for (ExpertId const expert : ranks[rank.index()].committed.rank_slots(layer, rank))
        lost.erase({layer, expert.value()});
    for (auto const& copy : ranks[rank.index()].spare) lost.erase({copy.layer, copy.expert.value()});
  }
  return lost;
}

/// Nobody but the victim may have had it, at the point where the survivors stopped.
bool victim_held(RebalanceSchedule const& schedule, std::pair<int, int> lost, int victim) {
  auto const [layer, expert] = lost;
  auto const rounds = static_cast<int>(schedule.layers[static_cast<std::size_t>(layer)].rounds.size());
  for (int done = 0; done <= rounds + 1; ++done) {
    auto const contents = contents_after(schedule, layer, done);
    for (ExpertId const held : contents.rows[static_cast<std::size_t>(victim)])
      if (held.value() == expert) return true;
  }
  return false;
}

void check_survivors(RebalanceSchedule const& schedule, Cluster const& cluster, std::vector<RankAfter> const& ranks,
                     int victim) {
  std::size_t const first = victim == 0 ? 1 : 0;
  for (RankId rank(0); rank.index() < ranks.size(); ++rank) {
    if (rank.value() == victim) continue;
    INFO("survivor ", rank.value());
    auto const& after = ranks[rank.index()];
    REQUIRE(after.committed == ranks[first].committed);
    REQUIRE(rows_are_right(*cluster.memory[rank.index()], after.committed, rank));
    REQUIRE(after.spare_is_right);
  }
  for (auto const& lost : lost_experts(schedule, ranks, victim)) {
    INFO("layer ", lost.first, ", expert ", lost.second);
    REQUIRE(victim_held(schedule, lost, victim));
  }
}

/// The promise for layers that are buffered: each is as before or as after; all of them together when everything is.
void check_promise(RebalanceSchedule const& schedule, Way way, RebalanceStep const& step, ExpertPlacement const& now) {
  if (schedule.limits.spare_rows != ScheduleLimits::kFullyBuffered) return;
  for (int layer = 0; layer < now.num_layers(); ++layer) {
    bool const old = std::ranges::equal(now.layer(layer), schedule.before.layer(layer));
    REQUIRE((old || std::ranges::equal(now.layer(layer), schedule.after.layer(layer))));
  }
  if (way == Way::buffered) REQUIRE(now == (step.committing ? schedule.after : schedule.before));
  if (way == Way::profile) REQUIRE(now == schedule.before);
}

/// The survivors plan again from what they have, without the victim, and end where they wanted to be.
void move_on(RebalanceSchedule const& schedule, Cluster const& cluster, ExpertPlacement const& now, int victim) {
  auto const next = plan_schedule(now, schedule.after, {},
                                  {.spare_rows = 1, .dead_ranks = {RankId(victim)}, .missing = MissingExperts::reload});
  auto const survivors = static_cast<int>(cluster.memory.size()) - 1;
  require_all_ended_well(make_fiber_harness(0)->run(survivors, CheckLevel::digest, [&](Communicator& comm) {
    RankId const rank(comm.rank().value() + (comm.rank().value() >= victim ? 1 : 0));
    ScheduleExecutor executor(next, {.mode = RebalanceMode::in_place});
    executor.execute(comm, cluster.memory[rank.index()]->weights());
    REQUIRE(rows_are_right(*cluster.memory[rank.index()], next.after, rank));
  }));
}

void fail_at_every_step(RankHarness& harness, RebalanceSchedule const& schedule, Way way, int& failures) {
  int const num_ranks = schedule.before.num_ranks();
  for (int victim = 0; victim < num_ranks; ++victim) {
    for (int number = 0;; ++number) {
      INFO(harness.name(), ", ", std::string(name_of(way)), ", spare rows ", schedule.limits.spare_rows, ", rank ",
           victim, " fails at step ", number);
      Cluster const cluster(schedule.before);
      std::vector<RankAfter> ranks(static_cast<std::size_t>(num_ranks));
      std::optional<RebalanceStep> failed_at;
      auto const ends = harness.run(num_ranks, CheckLevel::digest, [&](Communicator& comm) {
        auto const r = comm.rank().index();
        cpu::RebalanceStepHook hook;
        if (comm.rank().value() == victim)
          hook = [&](RebalanceStep const& step) {
            if (step.number != number) return;
            failed_at = step;
            throw std::runtime_error("out of cheese");
          };
        run_rank(schedule, way, comm, *cluster.memory[r], ranks[r], hook);
      });
      if (!failed_at) {
        require_all_ended_well(ends);
        break;
      }
      ++failures;
      REQUIRE(ends[static_cast<std::size_t>(victim)].text == "out of cheese");
      if (num_ranks == 1) continue;
      auto const& now = ranks[victim == 0 ? 1 : 0].committed;
      check_survivors(schedule, cluster, ranks, victim);
      check_promise(schedule, way, *failed_at, now);
      move_on(schedule, cluster, now, victim);
    }
  }
}

TEST_CASE("a failure at every step of every rank leaves what the mode promises, and the survivors move on") {
  int failures = 0;
  for (int spare_rows : {-1, 1, 2})
    for (Way way : kWays) {
      auto const schedule = worked(spare_rows);
      if (!can(way, schedule)) continue;
      for (auto const& harness : {make_thread_harness(), make_fiber_harness(0), make_fiber_harness(7)})
        fail_at_every_step(*harness, schedule, way, failures);
    }
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    INFO("placement seed ", seed);
    auto const pair = draw_placements(seed);
    for (int spare_rows : {-1, 1, 2})
      for (Way way : kWays) {
        auto const schedule = plan_schedule(pair.before, pair.after, {}, {.spare_rows = spare_rows});
        if (can(way, schedule)) fail_at_every_step(*make_fiber_harness(seed), schedule, way, failures);
      }
  }
  MESSAGE(failures, " injected failures");
  CHECK(failures > 2000);
}

}  // namespace
}  // namespace switchyard::test
