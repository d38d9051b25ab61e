// SPDX-License-Identifier: Apache-2.0
/// RebalanceExecutor: a worked example, refusals, damaged rows, and a failure at every numbered step of every rank.
///
/// Worked example (reference 1.6; 4 ranks of 3 slots, -1 = empty, rows of 64 + 24 = 88 bytes):
///   before 0 1 2 | 0 3 3 | 1 -1 4 | 4 2 0     after 3 1 0 | 0 2 4 | 3 3 1 | -1 4 2
///   network: 3 from rank 1 to 0, 2 from 0 to 1, 4 from 2 to 1, 3 from 1 to 2
///   local:   rank 0 row 2 <- 0, rank 2 row 2 <- 0, rank 3 rows 1, 2 <- 0, 1;  duplicate: rank 2 row 1 <- row 0
///   so rank 1 sends 2 experts and receives 2, and rank 3 neither sends nor receives.
#include <doctest/doctest.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "support/random_placements.hpp"
#include "support/rank_harness_cpu.hpp"
#include "switchyard/cpu/internal/fault_hook.hpp"
#include "switchyard/cpu/internal/rebalance_steps.hpp"
#include "switchyard/cpu/internal/tagged_weights.hpp"

namespace switchyard::test {
namespace {

using cpu::RebalanceExecutor;
using cpu::RebalanceMode;
using cpu::RebalanceOptions;
using cpu::RebalanceResult;
using cpu::TaggedWeights;

constexpr RebalanceMode kModes[] = {RebalanceMode::buffered, RebalanceMode::in_place};
std::vector<std::int64_t> const kRowBytes{64, 24};

std::vector<ExpertId> experts(std::vector<int> const& ids) {
  std::vector<ExpertId> slots;
  for (int id : ids) slots.emplace_back(id);
  return slots;
}

RebalancePlan worked_plan(int layers = 1) {
  std::vector<ExpertId> before;
  std::vector<ExpertId> after;
  for (int layer = 0; layer < layers; ++layer) {
    for (ExpertId e : experts({0, 1, 2, 0, 3, 3, 1, -1, 4, 4, 2, 0})) before.push_back(e);
    for (ExpertId e : experts({3, 1, 0, 0, 2, 4, 3, 3, 1, -1, 4, 2})) after.push_back(e);
  }
  SlotLayout const layout = SlotLayout::uniform(4, 3);
  return plan_rebalance({layers, 5, layout, before}, {layers, 5, layout, after});
}

/// Everything about one rank after a run.
struct RankAfter {
  RebalanceResult result{};
  int layers_committed = -1;
  ExpertPlacement committed{};
  std::string mismatch{};  ///< against the committed placement; empty = every byte is right
};

void note_state(RankAfter& after, RebalanceExecutor const& executor, TaggedWeights const& memory) {
  after.layers_committed = executor.layers_committed();
  after.committed = executor.committed_placement();
  TaggedWeights::Checked checked;
  if (auto const wrong = memory.first_mismatch(after.committed, checked)) after.mismatch = wrong->text;
}

/// Runs `plan` on one rank with a hook, and notes the state of its memory however it ends.
void run_rank(Communicator& comm, RebalancePlan const& plan, RebalanceOptions const& options, RankAfter& after,
              cpu::RebalanceStepHook const& hook = nullptr) {
  TaggedWeights const memory(plan.before, comm.rank(), kRowBytes);
  RebalanceExecutor executor(plan, options);
  cpu::RebalanceExecutorAccess::set_step_hook(executor, hook);
  try {
    after.result = executor.execute(comm, memory.weights());
  } catch (...) {
    note_state(after, executor, memory);
    throw;
  }
  note_state(after, executor, memory);
}

TEST_CASE("the worked example moves the right bytes in both modes") {
  RebalancePlan const plan = worked_plan();
  for (auto const& harness : all_cpu_harnesses()) {
    for (RebalanceMode mode : kModes) {
      INFO(harness->name(), ", ", std::string(to_string(mode)));
      std::vector<RankAfter> ranks(4);
      require_all_ended_well(harness->run(4, CheckLevel::full, [&](Communicator& comm) {
        run_rank(comm, plan, {.mode = mode}, ranks[comm.rank().index()]);
      }));
      int const sent[] = {1, 2, 1, 0};
      int const received[] = {1, 2, 1, 0};
      int const copied[] = {1, 0, 2, 2};
      for (std::size_t r = 0; r < 4; ++r) {
        CHECK(ranks[r].committed == plan.after);
        CHECK_MESSAGE(ranks[r].mismatch.empty(), ranks[r].mismatch);
        CHECK(ranks[r].result.layers_committed == 1);
        CHECK(ranks[r].result.bytes_sent == 88 * sent[r]);
        CHECK(ranks[r].result.bytes_received == 88 * received[r]);
        CHECK(ranks[r].result.bytes_copied == 88 * copied[r]);
      }
      // Rank 0 stages one local row and one received row; checksums of 2 tensors for one send, receive and local row.
      CHECK(ranks[0].result.peak_staging_bytes == 2 * 88 + 3 * 2 * 8);
      CHECK(ranks[3].result.peak_staging_bytes == 2 * 88 + 2 * 2 * 8);
    }
  }
}

TEST_CASE("in place needs the staging of its largest layer, buffered of all layers") {
  RebalancePlan const plan = worked_plan(3);
  std::int64_t peaks[2] = {};
  for (std::size_t m = 0; m < 2; ++m) {
    std::vector<RankAfter> ranks(4);
    require_all_ended_well(make_fiber_harness(1)->run(4, CheckLevel::digest, [&](Communicator& comm) {
      run_rank(comm, plan, {.mode = kModes[m], .verify_rows = false}, ranks[comm.rank().index()]);
    }));
    peaks[m] = ranks[0].result.peak_staging_bytes;
  }
  CHECK(peaks[0] == 3 * 2 * 88);
  CHECK(peaks[1] == 2 * 88);
}

/// How many layers survivors have committed: buffered all or none; in place those before the failed layer, and after a
/// commit also the idle ones that follow, because nobody waits for anybody there.
int expected_layers(RebalancePlan const& plan, RebalanceMode mode, cpu::RebalanceStep const& step) {
  int const layers = plan.before.num_layers();
  if (mode == RebalanceMode::buffered) return step.committing ? layers : 0;
  int next = step.layer < 0 ? 0 : step.layer + (step.committing ? 1 : 0);
  if (!step.committing) return next;
  while (next < layers && plan.before.layer(next).size() != 0 &&
         std::equal(plan.before.layer(next).begin(), plan.before.layer(next).end(), plan.after.layer(next).begin(),
                    [](ExpertId was, ExpertId is) { return was == is || !is.valid(); }))
    ++next;
  return next;
}

void check_survivors(RebalancePlan const& plan, RebalanceMode mode, cpu::RebalanceStep const& step, int victim,
                     std::vector<RankEnd> const& ends, std::vector<RankAfter> const& ranks) {
  int const expected = expected_layers(plan, mode, step);
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    if (static_cast<int>(r) == victim) continue;
    INFO("survivor ", r);
    REQUIRE(ranks[r].layers_committed == expected);
    REQUIRE_MESSAGE(ranks[r].mismatch.empty(), ranks[r].mismatch);
    REQUIRE(ends[r].failed == (expected < plan.before.num_layers()));
    if (ends[r].failed) require_contains(ends[r].text, "out of cheese");
  }
}

void fail_at_every_step(RankHarness& harness, RebalancePlan const& plan, RebalanceMode mode, int& failures) {
  int const num_ranks = plan.before.num_ranks();
  for (int victim = 0; victim < num_ranks; ++victim) {
    for (int number = 0;; ++number) {
      INFO(harness.name(), ", ", std::string(to_string(mode)), ", rank ", victim, " fails at step ", number);
      std::vector<RankAfter> ranks(static_cast<std::size_t>(num_ranks));
      std::optional<cpu::RebalanceStep> failed_at;
      auto const ends = harness.run(num_ranks, CheckLevel::digest, [&](Communicator& comm) {
        cpu::RebalanceStepHook hook;
        if (comm.rank().value() == victim)
          hook = [&](cpu::RebalanceStep const& step) {
            if (step.number != number) return;
            failed_at = step;
            throw std::runtime_error("out of cheese");
          };
        run_rank(comm, plan, {.mode = mode}, ranks[comm.rank().index()], hook);
      });
      if (!failed_at) {
        require_all_ended_well(ends);
        break;
      }
      ++failures;
      REQUIRE(ends[static_cast<std::size_t>(victim)].text == "out of cheese");
      if (num_ranks > 1) check_survivors(plan, mode, *failed_at, victim, ends, ranks);
    }
  }
}

TEST_CASE("a failure at every step of every rank leaves what the mode promises, the same on all survivors") {
  int failures = 0;
  RebalancePlan const worked = worked_plan(2);
  for (RebalanceMode mode : kModes) {
    for (auto const& harness : all_cpu_harnesses()) fail_at_every_step(*harness, worked, mode, failures);
    for (std::uint64_t seed = 1; seed <= 25; ++seed) {
      INFO("placement seed ", seed);
      auto const pair = draw_placements(seed);
      fail_at_every_step(*make_fiber_harness(seed), plan_rebalance(pair.before, pair.after), mode, failures);
    }
  }
  MESSAGE(failures, " injected failures");
  CHECK(failures > 1000);
}

/// Flips a bit in one received row.
class RowDamage : public cpu::FaultHook {
 public:
  void after_copy(RankId receiver, RankId sender, std::int64_t,
                  std::span<std::span<std::byte> const> messages) override {
    // Rank 2 receives expert 3 from rank 1: tensor 0, tensor 1, then their checksums.
    if (receiver.value() == 2 && sender.value() == 1 && !messages.empty()) messages[1][5] ^= std::byte{4};
  }
};

TEST_CASE("a damaged row is refused before it is written, or found by the check when verification is off") {
  RebalancePlan const plan = worked_plan();
  for (RebalanceMode mode : kModes) {
    for (bool verify : {true, false}) {
      RowDamage damage;
      std::vector<RankAfter> ranks(4);
      auto const scheduler = cpu::make_cooperative_scheduler(3);
      auto const ends = cpu::run_ranks_with_faults(*scheduler, 4, {}, &damage, [&](Communicator& comm) {
        run_rank(comm, plan, {.mode = mode, .verify_rows = verify}, ranks[comm.rank().index()]);
      });
      for (std::size_t r = 0; r < 4; ++r) {
        CHECK(ends[r].failed == verify);
        CHECK(ranks[r].committed == (verify ? plan.before : plan.after));
        if (verify) {
          CHECK(ends[r].text.find("layer 0, expert 3, tensor 1: 24 bytes from rank 1 for row 0 of rank 2") !=
                std::string::npos);
          CHECK(ranks[r].mismatch.empty());
        } else {
          CHECK(ranks[r].mismatch.empty() == (r != 2));
        }
      }
      if (!verify) CHECK(ranks[2].mismatch.find("layer 0, rank 2, row 0 (expert 3), tensor 1, byte 5: ") == 0);
    }
  }
}

TEST_CASE("ranks with different plans, modes or row sizes are refused, and nothing is written") {
  RebalancePlan const plan = worked_plan();
  RebalancePlan const other = plan_rebalance(plan.before, plan.before);
  for (int what : {0, 1, 2, 3}) {
    std::vector<RankAfter> ranks(4);
    auto const ends = make_fiber_harness(2)->run(4, CheckLevel::digest, [&](Communicator& comm) {
      bool const odd = comm.rank().value() == 2;
      RebalanceOptions options;
      if (odd && what == 1) options.mode = RebalanceMode::in_place;
      if (odd && what == 2) options.verify_rows = false;
      if (what != 3) return run_rank(comm, odd && what == 0 ? other : plan, options, ranks[comm.rank().index()]);
      TaggedWeights const memory(plan.before, comm.rank(), odd ? std::vector<std::int64_t>{64, 32} : kRowBytes);
      RebalanceExecutor executor(plan, options);
      executor.execute(comm, memory.weights());
    });
    require_contains(require_same_error(ends, ErrorCode::desync), "rebalance: agree on the plan");
    if (what != 3)
      for (RankAfter const& rank : ranks) CHECK(rank.mismatch.empty());
  }
}

TEST_CASE("an altered plan, a wrong group and unfit weights are refused") {
  RebalancePlan const plan = worked_plan();
  RebalancePlan altered = plan;
  altered.layers[0].ranks[1].receives.pop_back();
  CHECK_THROWS_AS(RebalanceExecutor{altered}, Error);
  auto ends = make_fiber_harness(0)->run(3, CheckLevel::digest, [&](Communicator& comm) {
    RankAfter after;
    run_rank(comm, plan, {}, after);
  });
  require_contains(ends[0].text, "the plan is for 4 ranks, 0 of them dead, the group has 3");
  ends = make_fiber_harness(0)->run(4, CheckLevel::digest, [&](Communicator& comm) {
    // Rank 3 registered the weights of two slots only.
    auto const layout = SlotLayout({3, 3, 3, comm.rank().value() == 3 ? 2 : 3});
    std::vector<ExpertId> slots(static_cast<std::size_t>(layout.num_slots()), ExpertId(0));
    TaggedWeights const memory(ExpertPlacement(1, 5, layout, slots), comm.rank(), kRowBytes);
    RebalanceExecutor(plan).execute(comm, memory.weights());
  });
  require_contains(ends[3].text, "rank 3 has 3 slots in the plan, but its tensors of layer 0 have 2 rows");
  require_contains(ends[0].text, "aborted: rank 3 called abort: rebalance: shape_mismatch");
}

TEST_CASE("an executor runs once") {
  RebalancePlan const plan = worked_plan();
  auto const ends = make_fiber_harness(0)->run(4, CheckLevel::digest, [&](Communicator& comm) {
    TaggedWeights const memory(plan.before, comm.rank(), kRowBytes);
    RebalanceExecutor executor(plan);
    executor.execute(comm, memory.weights());
    executor.execute(comm, memory.weights());
  });
  require_contains(ends[0].text, "this executor has run already");
}

}  // namespace
}  // namespace switchyard::test
