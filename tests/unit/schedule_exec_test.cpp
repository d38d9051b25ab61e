// SPDX-License-Identifier: Apache-2.0
/// ScheduleExecutor: worked moves in every mode, damage, misuse, and a failure at every numbered step of every rank,
/// after which the survivors move on.
///
/// Worked example: ranks 0 and 1 with one slot each swap experts 0 and 1 with one spare row. Round 0 brings both into
/// the spare rows, the acknowledgement follows, then each rank writes its slot. A rank that fails before the
/// acknowledgement leaves 0 | 1, afterwards 1 | 0.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>

#include "support/random_placements.hpp"
#include "support/rank_harness_cpu.hpp"
#include "switchyard/cpu/internal/fault_hook.hpp"
#include "switchyard/cpu/internal/rebalance_steps.hpp"
#include "switchyard/cpu/internal/tagged_weights.hpp"
#include "switchyard/cpu/schedule_executor.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"
#include "switchyard/rebalance/weight_tag.hpp"

namespace switchyard::test {
namespace {

using cpu::RebalanceMode;
using cpu::RebalanceOptions;
using cpu::RebalanceStep;
using cpu::RebalanceStepKind;
using cpu::ScheduleExecutor;
using cpu::TaggedWeights;

std::vector<std::int64_t> const kRowBytes{24, 9};
constexpr std::int64_t kExpertBytes = 33;

/// How a schedule is carried out.
enum class Way { buffered, in_place, stepwise, profile };
constexpr Way kWays[] = {Way::buffered, Way::in_place, Way::stepwise, Way::profile};
char const* name_of(Way way) {
  constexpr char const* kNames[] = {"buffered", "in place", "layer by layer", "profile"};
  return kNames[static_cast<int>(way)];
}

ExpertPlacement placement(int experts, std::vector<std::int32_t> const& slots_per_rank, std::vector<int> const& ids) {
  std::vector<ExpertId> slots;
  for (int id : ids) slots.emplace_back(id);
  SlotLayout const layout(slots_per_rank);
  return {static_cast<int>(ids.size()) / layout.num_slots(), experts, layout, slots};
}

/// The memory of all ranks, which outlives what happens to them.
struct Cluster {
  explicit Cluster(ExpertPlacement const& before) {
    for (RankId rank(0); rank.value() < before.num_ranks(); ++rank)
      memory.push_back(std::make_unique<TaggedWeights>(before, rank, kRowBytes));
  }
  std::vector<std::unique_ptr<TaggedWeights>> memory;
};

bool has_tags(std::span<std::byte const> row, int layer, ExpertId expert, int tensor) {
  return !first_wrong_tag(row, layer, expert, tensor);
}

/// Every slot of a rank that `placement` fills holds its expert's bytes.
bool rows_are_right(TaggedWeights const& memory, ExpertPlacement const& placement, RankId rank) {
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    auto const slots = placement.rank_slots(layer, rank);
    for (LocalExpertId row(0); row.index() < slots.size(); ++row)
      for (int t = 0; t < 2; ++t)
        if (slots[row.index()].valid() && !has_tags(memory.weights().row(layer, t, row), layer, slots[row.index()], t))
          return false;
  }
  return true;
}

/// What one rank knows when it has ended.
struct RankAfter {
  ExpertPlacement committed{};
  std::vector<cpu::SpareCopy> spare{};
  bool spare_is_right = true;
  cpu::RebalanceResult result{};
};

void note(ScheduleExecutor const& executor, RankAfter& after) {
  after.committed = executor.committed_placement();
  after.spare = executor.spare_copies();
  after.result = executor.result();
  for (auto const& copy : after.spare)
    for (int t = 0; t < 2; ++t)
      after.spare_is_right = after.spare_is_right && has_tags(executor.spare_row(copy, t), copy.layer, copy.expert, t);
}

void carry_out(ScheduleExecutor& executor, Way way, int layers, Communicator& comm, ExpertWeights const& weights) {
  if (way == Way::profile) {
    executor.profile(comm, weights);
  } else if (way == Way::stepwise) {
    for (int layer = layers - 1; layer >= 0; --layer) {
      executor.begin(comm, weights, layer);
      while (!executor.poll()) {
      }
      executor.commit();
    }
  } else {
    executor.execute(comm, weights);
  }
}

RebalanceOptions options_of(Way way) {
  return {.mode = way == Way::buffered ? RebalanceMode::buffered : RebalanceMode::in_place};
}

/// Runs the schedule on one rank of the plan and notes the end, whatever it is.
void run_rank(RebalanceSchedule const& schedule, Way way, Communicator& comm, TaggedWeights const& memory,
              RankAfter& after, cpu::RebalanceStepHook const& hook = nullptr) {
  ScheduleExecutor executor(schedule, options_of(way));
  cpu::ScheduleExecutorAccess::set_step_hook(executor, hook);
  try {
    carry_out(executor, way, schedule.before.num_layers(), comm, memory.weights());
  } catch (...) {
    note(executor, after);
    throw;
  }
  note(executor, after);
}

bool can(Way way, RebalanceSchedule const& schedule) {
  return way == Way::in_place || way == Way::profile || schedule.limits.spare_rows == ScheduleLimits::kFullyBuffered;
}

RebalanceSchedule worked(int spare_rows) {
  return plan_schedule(
      placement(5, {3, 3, 3, 3}, {0, 1, 2, 0, 3, 3, 1, -1, 4, 4, 2, 0, 0, 1, 2, 0, 3, 3, 1, -1, 4, 4, 2, 0}),
      placement(5, {3, 3, 3, 3}, {3, 1, 0, 0, 2, 4, 3, 3, 1, -1, 4, 2, 0, 2, 1, 3, 0, 0, 1, -1, 3, 4, 2, 1}), {},
      {.spare_rows = spare_rows});
}

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
  auto const text = [&](std::function<void(Communicator&, ExpertWeights const&)> const& body) {
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
