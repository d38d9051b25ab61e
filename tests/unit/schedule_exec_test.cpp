// SPDX-License-Identifier: Apache-2.0
/// ScheduleExecutor: worked moves in every mode, damage, and misuse. Failures: schedule_exec_faults_test.cpp.
///
/// Worked example: ranks 0 and 1 with one slot each swap experts 0 and 1 with one spare row. Round 0 brings both into
/// the spare rows, the acknowledgement follows, then each rank writes its slot. A rank that fails before the
/// acknowledgement leaves 0 | 1, afterwards 1 | 0.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "support/schedule_exec_cases.hpp"
#include "switchyard/cpu/internal/fault_hook.hpp"

namespace switchyard::test {
namespace {

TEST_CASE("the worked moves end with the right bytes in every way, on threads and fibers") {
  for (auto const& harness : all_cpu_harnesses()) {
    for (int spare_rows : {-1, 1, 2}) {
      auto const schedule = worked(spare_rows);
      for (Way way : kWays) {
        if (!can(way, schedule)) continue;
        INFO(harness->name(), ", ", std::string(name_of(way)), ", spare rows ", spare_rows);
        Cluster const cluster(schedule.before);
        std::vector<RankAfter> ranks(4);
        require_all_ended_well(harness->run(4, CheckLevel::full, [&](Communicator& comm) {
          auto const r = comm.rank().index();
          run_rank(schedule, way, comm, *cluster.memory[r], ranks[r]);
        }));
        auto const& expected = way == Way::profile ? schedule.before : schedule.after;
        for (std::size_t r = 0; r < 4; ++r) {
          TaggedWeights::Checked checked;
          auto const wrong = cluster.memory[r]->first_mismatch(expected, checked);
          CHECK_MESSAGE(!wrong, wrong->text);
          CHECK(ranks[r].committed == expected);
          CHECK(ranks[r].spare.empty());
        }
      }
    }
  }
}

TEST_CASE("a layer serves the old map until its commit") {
  auto const schedule = worked(-1);
  Cluster const cluster(schedule.before);
  std::vector<int> polls(4, 0);
  require_all_ended_well(make_fiber_harness(5)->run(4, CheckLevel::digest, [&](Communicator& comm) {
    auto const r = comm.rank().index();
    TaggedWeights const& memory = *cluster.memory[r];
    TaggedWeights::Checked checked;
    ScheduleExecutor executor(schedule);
    executor.begin(comm, memory.weights(), 1);
    for (bool done = false; !done; ++polls[r]) {
      CHECK(executor.committed_placement() == schedule.before);
      CHECK(!memory.first_mismatch(schedule.before, checked));
      done = executor.poll();
    }
    CHECK(!memory.first_mismatch(schedule.before, checked));
    executor.commit();
    auto const now = executor.committed_placement();
    CHECK(std::ranges::equal(now.layer(0), schedule.before.layer(0)));
    CHECK(std::ranges::equal(now.layer(1), schedule.after.layer(1)));
    CHECK(!memory.first_mismatch(now, checked));
    executor.execute(comm, memory.weights());  // the rest
    CHECK(!memory.first_mismatch(schedule.after, checked));
    CHECK(executor.result().layers_committed == 2);
  }));
  CHECK(polls[0] == static_cast<int>(schedule.layers[1].rounds.size()));
}

TEST_CASE("bytes moved, extra memory, and a profile of the same sizes") {
  auto const schedule =
      plan_schedule(placement(2, {1, 1}, {0, 1}), placement(2, {1, 1}, {1, 0}), {}, {.spare_rows = 1});
  Cluster const cluster(schedule.before);
  require_all_ended_well(make_fiber_harness(0)->run(2, CheckLevel::digest, [&](Communicator& comm) {
    auto const& memory = *cluster.memory[comm.rank().index()];
    ScheduleExecutor executor(schedule, {.mode = RebalanceMode::in_place});
    auto const profile = executor.profile(comm, memory.weights());
    CHECK(rows_are_right(memory, schedule.before, comm.rank()));
    auto const moved = executor.execute(comm, memory.weights());
    CHECK(moved.bytes_sent == kExpertBytes);
    CHECK(moved.bytes_received == kExpertBytes);
    CHECK(moved.bytes_copied == kExpertBytes);
    CHECK(moved.peak_staging_bytes == kExpertBytes + 2 * 2 * 8);  // one spare row; two sums for each of two rows
    CHECK(profile.bytes_sent == moved.bytes_sent);
    CHECK(profile.bytes_received == moved.bytes_received);
  }));
}

/// Flips a bit in the first row that rank 1 receives.
class RowDamage : public cpu::FaultHook {
 public:
  void after_copy(RankId receiver, RankId, std::int64_t, std::span<std::span<std::byte> const> messages) override {
    if (receiver.value() == 1 && !messages.empty()) messages[0][3] ^= std::byte{16};
  }
};

TEST_CASE("a row that arrives damaged is refused before anybody relies on it") {
  for (int spare_rows : {-1, 1}) {
    auto const schedule = worked(spare_rows);
    RowDamage damage;
    Cluster const cluster(schedule.before);
    std::vector<RankAfter> ranks(4);
    auto const scheduler = cpu::make_cooperative_scheduler(3);
    auto const ends = cpu::run_ranks_with_faults(*scheduler, 4, {}, &damage, [&](Communicator& comm) {
      auto const r = comm.rank().index();
      run_rank(schedule, Way::in_place, comm, *cluster.memory[r], ranks[r]);
    });
    CHECK(ends[1].code == ErrorCode::corrupt_data);
    require_contains(ends[1].text, "of rank 1 should have checksum");
    for (RankId rank(0); rank.value() < 4; ++rank) {
      CHECK(ends[rank.index()].failed);
      CHECK(rows_are_right(*cluster.memory[rank.index()], ranks[rank.index()].committed, rank));
    }
  }
}

TEST_CASE("a slot that changes after it was written is found") {
  auto const schedule = plan_schedule(placement(2, {1, 1}, {0, 1}), placement(2, {1, 1}, {1, 0}));
  for (bool verify : {true, false}) {
    Cluster const cluster(schedule.before);
    auto const ends = make_fiber_harness(0)->run(2, CheckLevel::digest, [&](Communicator& comm) {
      auto const& weights = cluster.memory[comm.rank().index()]->weights();
      ScheduleExecutor executor(schedule, {.mode = RebalanceMode::in_place, .verify_rows = verify});
      cpu::ScheduleExecutorAccess::set_step_hook(executor, [&](RebalanceStep const& step) {
        if (step.kind == RebalanceStepKind::verify_written && comm.rank().value() == 0)
          weights.row(0, 1, LocalExpertId(0))[2] ^= std::byte{1};
      });
      executor.execute(comm, weights);
    });
    CHECK(ends[0].failed == verify);
    if (verify) require_contains(ends[0].text, "layer 0, expert 1, tensor 1: 9 bytes written in row 0 of rank 0");
  }
}

TEST_CASE("a group without its dead ranks, or with them idle, fills everything it can reach") {
  auto const before = placement(5, {2, 3, 2}, {0, 4, 1, 2, 3, 1, 4});
  auto const after = placement(5, {2, 3, 2}, {1, 2, 0, 1, 2, 0, 3});
  auto const schedule =
      plan_schedule(before, after, {}, {.dead_ranks = {RankId(1)}, .missing = MissingExperts::reload});
  REQUIRE(schedule.reloads.size() == 2);
  for (int group : {2, 3}) {
    Cluster const cluster(before);
    require_all_ended_well(make_fiber_harness(1)->run(group, CheckLevel::digest, [&](Communicator& comm) {
      RankId const rank(group == 3 ? comm.rank().value() : comm.rank().value() * 2);
      ScheduleExecutor executor(schedule);
      executor.execute(comm, cluster.memory[rank.index()]->weights());
      CHECK(rows_are_right(*cluster.memory[rank.index()], schedule.after, rank));
      // The dead rank's rows and the rows to be reloaded are as they were.
      CHECK(rows_are_right(*cluster.memory[1], before, RankId(1)));
      CHECK(has_tags(cluster.memory[0]->weights().row(0, 0, LocalExpertId(1)), 0, ExpertId(4), 0));
    }));
  }
}

TEST_CASE("scaling by an explicit mode: the group of both sides moves the rows") {
  auto const four = placement(4, {1, 1, 1, 1}, {0, 1, 2, 3});
  auto const two = placement(4, {2, 2}, {0, 1, 2, 3});
  auto const wide = placement(4, {2, 2, 2, 2}, {3, 0, 1, 2, 2, 1, 0, 3});
  for (auto const& schedule :
       {plan_schedule(two, wide, {ScaleMode::scale_up, {RankId(2), RankId(0)}}),
        plan_schedule(wide, two, {ScaleMode::scale_down, {RankId(1), RankId(-1), RankId(-1), RankId(0)}})}) {
    Cluster const cluster(schedule.before);
    require_all_ended_well(make_fiber_harness(2)->run(4, CheckLevel::digest, [&](Communicator& comm) {
      ScheduleExecutor executor(schedule);
      executor.execute(comm, cluster.memory[comm.rank().index()]->weights());
      CHECK(rows_are_right(*cluster.memory[comm.rank().index()], schedule.after, comm.rank()));
    }));
  }
  CHECK_THROWS_AS((void)plan_schedule(two, four, {ScaleMode::scale_up, {RankId(2), RankId(0)}}), Error);
}

TEST_CASE("calls out of order and unfit arguments are refused") {
  auto const schedule = worked(-1);
  auto const few = worked(1);
  auto const text = [&](std::function<void(Communicator&, RegisteredWeights const&)> const& body) {
    Cluster const cluster(schedule.before);
    return make_fiber_harness(0)
        ->run(4, CheckLevel::digest,
              [&](Communicator& comm) { body(comm, cluster.memory[comm.rank().index()]->weights()); })[0]
        .text;
  };
  require_contains(text([&](auto&, auto&) { ScheduleExecutor{schedule}.poll(); }), "call begin() first");
  require_contains(text([&](auto&, auto&) { ScheduleExecutor{schedule}.commit(); }), "not every row is there");
  require_contains(text([&](auto& comm, auto& weights) { ScheduleExecutor{schedule}.begin(comm, weights, 2); }),
                   "layer 2 is outside [0, 2)");
  require_contains(text([&](auto& comm, auto& weights) {
                     ScheduleExecutor executor(schedule);
                     executor.begin(comm, weights, 0);
                     executor.execute(comm, weights);
                   }),
                   "a layer is under way");
  require_contains(text([&](auto& comm, auto& weights) {
                     ScheduleExecutor{few, {.mode = RebalanceMode::in_place}}.begin(comm, weights, 0);
                   }),
                   "cannot be served meanwhile");
  require_contains(text([&](auto&, auto&) { ScheduleExecutor{few}; }), "cannot be buffered");
  require_contains(
      text([&](auto& comm, auto& weights) {
        ScheduleExecutor{comm.rank().value() == 2 ? few : schedule, {.mode = RebalanceMode::in_place}}.execute(comm,
                                                                                                               weights);
      }),
      "desync");
  auto damaged = schedule;
  damaged.layers[0].commit.clear();
  CHECK_THROWS_AS(ScheduleExecutor{damaged}, Error);
}

}  // namespace
}  // namespace switchyard::test
