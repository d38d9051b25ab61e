// SPDX-License-Identifier: Apache-2.0
/// The thirteen hazards of the executor that others copied (docs/rebalance.md lists them): each case shows that here
/// the outcome is right or refused.
///
/// Worked example of the first: expert 2 of layer 1 is on nobody. The original marks its row as received, receives
/// nothing, and copies what the buffer held: layer 0's weights. Here the row is listed for reload and keeps its bytes.
#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "support/error_text.hpp"
#include "support/rank_harness_cpu.hpp"
#include "switchyard/cpu/internal/fault_hook.hpp"
#include "switchyard/cpu/internal/rebalance_steps.hpp"
#include "switchyard/cpu/internal/tagged_weights.hpp"
#include "switchyard/cpu/rehearsal.hpp"
#include "switchyard/cpu/schedule_executor.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"
#include "switchyard/rebalance/weight_tag.hpp"

namespace switchyard::test {
namespace {

using cpu::RebalanceMode;
using cpu::RebalanceStep;
using cpu::RebalanceStepKind;
using cpu::ScheduleExecutor;
using cpu::TaggedWeights;

std::vector<std::int64_t> const kRowBytes{24, 9};

/// One layer per list; every rank has `slots` slots.
ExpertPlacement placement(int experts, int ranks, int slots, std::vector<std::vector<int>> const& layers) {
  std::vector<ExpertId> ids;
  for (auto const& layer : layers)
    for (int id : layer) ids.emplace_back(id);
  return {static_cast<int>(layers.size()), experts, SlotLayout::uniform(ranks, slots), ids};
}

std::vector<std::unique_ptr<TaggedWeights>> tagged(ExpertPlacement const& before) {
  std::vector<std::unique_ptr<TaggedWeights>> memory;
  for (RankId rank(0); rank.value() < before.num_ranks(); ++rank)
    memory.push_back(std::make_unique<TaggedWeights>(before, rank, kRowBytes));
  return memory;
}

void require_target(TaggedWeights const& memory, ExpertPlacement const& target) {
  TaggedWeights::Checked checked;
  auto const wrong = memory.first_mismatch(target, checked);
  REQUIRE_MESSAGE(!wrong, wrong->text);
}

/// Executes in place with the default checks; every byte is compared with the target.
void move_and_compare(RebalanceSchedule const& schedule, RankHarness& harness) {
  auto const memory = tagged(schedule.before);
  require_all_ended_well(harness.run(schedule.before.num_ranks(), CheckLevel::full, [&](Communicator& comm) {
    ScheduleExecutor executor(schedule, {.mode = RebalanceMode::in_place});
    executor.execute(comm, memory[comm.rank().index()]->weights());
  }));
  for (auto const& rank : memory) require_target(*rank, schedule.after);
}

}  // namespace

TEST_CASE("H1: an expert without a copy is reported for reload and its row keeps its bytes") {
  auto const before = placement(3, 2, 2, {{0, 1, 2, 0}, {0, 1, 1, 0}});
  auto const after = placement(3, 2, 2, {{2, 1, 0, 0}, {2, 1, 0, 0}});
  CHECK(support::contains(
      support::error_text(ErrorCode::missing_source, [&] { return plan_rebalance(before, after).layers.size(); }),
      "expert 2 of layer 1"));
  auto const schedule = plan_schedule(before, after, {}, {.missing = MissingExperts::reload});
  CHECK(schedule.reloads == std::vector<Reload>{{1, RankId(0), LocalExpertId(0), ExpertId(2)}});
  move_and_compare(schedule, *make_fiber_harness(1));  // the target's empty row must be untouched
}

TEST_CASE("H2: ids beyond the experts are refused, and a lost expert is named before it is lost") {
  auto const before = placement(2, 2, 1, {{0, 1}});
  CHECK(support::contains(support::error_text(ErrorCode::invalid_placement,
                                              [&] {
                                                auto const after = placement(2, 2, 1, {{0, 2}});
                                                return plan_schedule(before, after).layers.size();
                                              }),
                          "expert 2 in after, outside [-1, 2)"));
  auto const lossy = plan_rebalance(before, placement(2, 2, 1, {{0, 0}}));
  CHECK(validate(lossy).empty());
  REQUIRE(validate(lossy, true).size() == 1);
  CHECK(validate(lossy, true)[0].rule == PlanRule::lost_expert);
}

TEST_CASE("H3: local copies, receives and writes of the same rows never race, in any order of ranks") {
  // Both slots of every rank are sent away, copied locally and overwritten in the same layer.
  auto const schedule = plan_schedule(placement(4, 3, 2, {{0, 1, 2, 3, 1, 0}}),
                                      placement(4, 3, 2, {{1, 2, 3, 0, 0, 3}}), {}, {.spare_rows = 1});
  for (int run = 0; run < 5; ++run) move_and_compare(schedule, *make_thread_harness());
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    INFO("seed ", seed);
    move_and_compare(schedule, *make_fiber_harness(seed));
  }
}

TEST_CASE("H4: no more transfers are under way at once than asked for") {
  auto const schedule = plan_schedule(placement(6, 3, 2, {{0, 1, 2, 3, 4, 5}}),
                                      placement(6, 3, 2, {{2, 4, 0, 5, 1, 3}}), {}, {.max_transfers_per_round = 2});
  CHECK(schedule.layers[0].rounds.size() == 3);  // six transfers
  auto broken = schedule;
  for (auto const& t : broken.layers[0].rounds[1].transfers) broken.layers[0].rounds[0].transfers.push_back(t);
  broken.layers[0].rounds.erase(broken.layers[0].rounds.begin() + 1);
  auto const violations = validate(broken);
  REQUIRE(!violations.empty());
  CHECK(violations[0].rule == PlanRule::busy_port);
  move_and_compare(schedule, *make_fiber_harness(2));
}

TEST_CASE("H5: a copy comes from the same node when it can, and holders share the sends") {
  // Expert 0 is on ranks 0 and 4 (nodes 0 and 1): the other ranks of each node get it from their own.
  auto const schedule = plan_schedule(placement(8, 8, 1, {{0, 1, 2, 3, 0, 5, 6, 7}}),
                                      placement(8, 8, 1, {{0, 0, 2, 0, 0, 0, 0, 7}}), {}, {.topology = Topology(8, 2)});
  CHECK(totals(schedule).network_transfers == 0);
  CHECK(totals(schedule).intra_transfers == 4);
  // The compatible arithmetic lets the first holder of every expert send; here each holder sends one.
  auto const two = placement(4, 4, 2, {{0, 1, 0, 1, 2, 3, 2, 3}});
  auto const spread = placement(4, 4, 2, {{0, 1, 0, 1, 0, 3, 1, 3}});
  CHECK(totals(plan_schedule(two, spread)).max_sends_of_rank == 1);
  CHECK(totals(plan_schedule(two, spread, {}, {.senders = SenderRule::compatible})).max_sends_of_rank == 2);
}

TEST_CASE("H6: an expert crosses the network once per node") {
  auto const schedule = plan_schedule(placement(8, 8, 1, {{0, 1, 2, 3, 4, 5, 6, 7}}),
                                      placement(8, 8, 1, {{0, 1, 2, 3, 0, 0, 0, 0}}), {}, {.topology = Topology(8, 2)});
  CHECK(totals(schedule).network_transfers == 1);
  CHECK(totals(schedule).intra_transfers == 3);
  move_and_compare(schedule, *make_fiber_harness(3));
}

TEST_CASE("H7: a permutation of all ranks means what the mode says, not what lengths suggest") {
  auto const map = placement(3, 3, 1, {{0, 1, 2}});
  std::vector<RankId> const rotated = {RankId(1), RankId(2), RankId(0)};
  auto const up = plan_schedule(map, map, {ScaleMode::scale_up, rotated});
  auto const down = plan_schedule(map, map, {ScaleMode::scale_down, rotated});
  CHECK(!(up.before == down.before));
  CHECK(target_placement(up) == map);
  CHECK(target_placement(down) == map);
  CHECK(
      support::contains(support::error_text(ErrorCode::invalid_argument,
                                            [&] {
                                              return plan_schedule(map, map, {ScaleMode::none, rotated}).layers.size();
                                            }),
                        "without a direction"));
}

TEST_CASE("H8: registered weights can be read any number of times") {
  auto const there = plan_schedule(placement(2, 2, 1, {{0, 1}}), placement(2, 2, 1, {{1, 0}}));
  auto const back = plan_schedule(there.after, there.before);
  auto const memory = tagged(there.before);
  require_all_ended_well(make_fiber_harness(0)->run(2, CheckLevel::digest, [&](Communicator& comm) {
    RegisteredWeights const& weights = memory[comm.rank().index()]->weights();
    ScheduleExecutor(there).profile(comm, weights);
    ScheduleExecutor(there).execute(comm, weights);
    require_target(*memory[comm.rank().index()], there.after);
    ScheduleExecutor(back).execute(comm, weights);
    require_target(*memory[comm.rank().index()], there.before);
  }));
}

namespace {

/// Two layers whose experts differ in tensors and sizes: layer 0 has rows of 5 bytes, layer 1 of 12 and 3 bytes.
struct UnevenMemory {
  explicit UnevenMemory(int expert) {
    fill_weight_tags(narrow, 0, ExpertId(expert), 0);
    fill_weight_tags(wide, 1, ExpertId(expert), 0);
    fill_weight_tags(scale, 1, ExpertId(expert), 1);
    weights = RegisteredWeights({{{narrow.data(), 5, 5, 1}}, {{wide.data(), 12, 12, 1}, {scale.data(), 3, 3, 1}}});
  }
  [[nodiscard]] bool holds(int expert) const {
    return !first_wrong_tag(narrow, 0, ExpertId(expert), 0) && !first_wrong_tag(wide, 1, ExpertId(expert), 0) &&
           !first_wrong_tag(scale, 1, ExpertId(expert), 1);
  }
  std::array<std::byte, 5> narrow{};
  std::array<std::byte, 12> wide{};
  std::array<std::byte, 3> scale{};
  RegisteredWeights weights{};
};

}  // namespace

TEST_CASE("H9: layers may differ in tensors and row sizes") {
  auto const schedule =
      plan_schedule(placement(2, 2, 1, {{0, 1}, {0, 1}}), placement(2, 2, 1, {{1, 0}, {1, 0}}), {}, {.spare_rows = 1});
  auto const plan = plan_rebalance(schedule.before, schedule.after);
  for (bool scheduled : {true, false})
    for (RebalanceMode mode : {RebalanceMode::in_place, RebalanceMode::buffered}) {
      if (scheduled && mode == RebalanceMode::buffered) continue;
      std::array<UnevenMemory, 2> memory{UnevenMemory(0), UnevenMemory(1)};
      for (auto& rank : memory)
        rank.weights = RegisteredWeights(
            {{{rank.narrow.data(), 5, 5, 1}}, {{rank.wide.data(), 12, 12, 1}, {rank.scale.data(), 3, 3, 1}}});
      require_all_ended_well(make_fiber_harness(4)->run(2, CheckLevel::digest, [&](Communicator& comm) {
        auto const& weights = memory[comm.rank().index()].weights;
        if (scheduled)
          ScheduleExecutor(schedule, {.mode = mode}).execute(comm, weights);
        else
          cpu::RebalanceExecutor(plan, {.mode = mode}).execute(comm, weights);
      }));
      CHECK(memory[0].holds(1));
      CHECK(memory[1].holds(0));
    }
}

TEST_CASE("H10: a dead rank is no source, and nobody waits for it") {
  // Ranks 1 and 2 hold expert 1; rank 1 is dead. The group of three living ranks ends; rank 2 sends.
  auto const schedule = plan_schedule(placement(4, 4, 1, {{0, 1, 1, 3}}), placement(4, 4, 1, {{1, 0, 1, 3}}), {},
                                      {.dead_ranks = {RankId(1)}});
  REQUIRE(schedule.layers[0].rounds.size() == 1);
  CHECK(schedule.layers[0].rounds[0].transfers[0].from == RankId(2));
  auto const memory = tagged(schedule.before);
  require_all_ended_well(make_fiber_harness(0)->run(3, CheckLevel::digest, [&](Communicator& comm) {
    std::size_t const rank = comm.rank().value() == 0 ? 0 : comm.rank().index() + 1;
    ScheduleExecutor(schedule).execute(comm, memory[rank]->weights());
    require_target(*memory[rank], schedule.after);
  }));
}

TEST_CASE("H11: a tensor that one rank forgot to register stops everybody before anything moves") {
  auto const schedule = plan_schedule(placement(2, 2, 1, {{0, 1}}), placement(2, 2, 1, {{1, 0}}));
  auto const memory = tagged(schedule.before);
  auto const ends = make_fiber_harness(0)->run(2, CheckLevel::digest, [&](Communicator& comm) {
    RegisteredWeights const& all = memory[comm.rank().index()]->weights();
    RegisteredWeights const some({{all.layer(0)[0]}});
    ScheduleExecutor(schedule).execute(comm, comm.rank().value() == 1 ? some : all);
  });
  require_contains(require_same_error(ends, ErrorCode::desync), "agree on the schedule");
  for (auto const& rank : memory) require_target(*rank, schedule.before);
  // Rows are strided there and everywhere in these tests; bytes between rows stay as they are (require_target looks).
  std::array<std::byte, 8> bytes{};
  CHECK_THROWS_AS(RegisteredWeights({{{bytes.data(), 4, 3, 2}}}), Error);
}

TEST_CASE("H12: weights that arrive by logical expert go to all of its slots, wherever they are now") {
  auto const schedule = plan_schedule(placement(3, 2, 2, {{0, 1, 2, 0}}), placement(3, 2, 2, {{1, 0, 1, 2}}));
  auto const memory = tagged(schedule.before);
  require_all_ended_well(make_fiber_harness(0)->run(2, CheckLevel::digest, [&](Communicator& comm) {
    RegisteredWeights const& weights = memory[comm.rank().index()]->weights();
    ScheduleExecutor executor(schedule);
    executor.execute(comm, weights);
    ExpertPlacement const now = executor.committed_placement();
    ReplicaTable const replicas(now, 0);
    int loaded = 0;
    for (SlotId const slot : replicas.replicas(ExpertId(1))) {
      if (now.layout().rank_of(slot) != comm.rank()) continue;
      fill_weight_tags(weights.row(0, 0, now.layout().local_of(slot)), 7, ExpertId(1), 0);
      ++loaded;
    }
    CHECK(loaded == 1);
    LocalExpertId const row(0);  // expert 1 is in row 0 of both ranks now
    CHECK(!first_wrong_tag(weights.row(0, 0, row), 7, ExpertId(1), 0));
  }));
}

TEST_CASE("H13: no slot is overwritten before every rank has verified what it received") {
  auto const schedule =
      plan_schedule(placement(3, 3, 1, {{0, 1, 2}}), placement(3, 3, 1, {{1, 2, 0}}), {}, {.spare_rows = 1});
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    INFO("seed ", seed);
    auto const memory = tagged(schedule.before);
    int acknowledged = 0;  // ranks on one thread: no lock needed
    require_all_ended_well(make_fiber_harness(seed)->run(3, CheckLevel::digest, [&](Communicator& comm) {
      ScheduleExecutor executor(schedule, {.mode = RebalanceMode::in_place});
      cpu::ScheduleExecutorAccess::set_step_hook(executor, [&](RebalanceStep const& step) {
        if (step.kind == RebalanceStepKind::acknowledge) ++acknowledged;
        if (step.kind == RebalanceStepKind::write_row) REQUIRE(acknowledged == 3);
      });
      executor.execute(comm, memory[comm.rank().index()]->weights());
    }));
  }
}

TEST_CASE("a schedule file is rehearsed like a plan file, dead ranks and reloads included") {
  auto const before = placement(5, 4, 2, {{0, 1, 2, 3, 4, 0, 1, 2}, {0, 1, 2, 3, 4, 0, 1, 2}});
  auto const after = placement(5, 4, 2, {{1, 0, 3, 2, 1, 4, 0, 3}, {0, 1, 2, 3, 4, 0, 1, 2}});
  for (int spare_rows : {-1, 1}) {
    auto const schedule = plan_schedule(
        before, after, {}, {.spare_rows = spare_rows, .dead_ranks = {RankId(1)}, .missing = MissingExperts::reload});
    for (RebalanceMode mode : {RebalanceMode::in_place, RebalanceMode::buffered}) {
      auto const rehearse = [&] { return cpu::rehearse(io::to_json(schedule), "schedule", {.mode = mode}); };
      if (spare_rows == 1 && mode == RebalanceMode::buffered) {
        CHECK(support::contains(support::error_text(ErrorCode::invalid_argument, [&] { return rehearse().num_ranks; }),
                                "cannot be buffered"));
        continue;
      }
      auto const report = rehearse();
      CHECK(report.passed());
      CHECK(report.num_ranks == 4);
      CHECK(report.bytes_sent == report.bytes_received);
      CHECK(report.bytes_sent > 0);
    }
  }
}

}  // namespace switchyard::test
