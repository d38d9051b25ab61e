// SPDX-License-Identifier: Apache-2.0
/// Random rebalances through JSON on emulated ranks: every byte is what the target placement alone says; plans that
/// were tampered with are refused; scale-up and scale-down rehearse as well.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "support/random_placements.hpp"
#include "switchyard/cpu/internal/tagged_weights.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::test {
namespace {

using cpu::RebalanceMode;
using cpu::RehearsalOptions;
using cpu::SchedulerKind;

constexpr RebalanceMode kModes[] = {RebalanceMode::buffered, RebalanceMode::in_place};

/// Slots that hold an expert, over all layers: what a rehearsal must check, from the target map alone.
std::int64_t occupied(ExpertPlacement const& placement) {
  std::int64_t count = 0;
  for (ExpertId expert : placement.slot_to_expert()) count += expert.valid() ? 1 : 0;
  return count;
}

void require_rehearsal_passes(RebalancePlan const& plan, RehearsalOptions const& options) {
  auto const report = cpu::rehearse(io::to_json(plan), "plan.json", options);
  REQUIRE_MESSAGE(report.passed(), report.first_mismatch->text);
  auto const tensors = static_cast<std::int64_t>(options.tensor_row_bytes.size());
  std::int64_t expert_bytes = 0;
  for (std::int64_t bytes : options.tensor_row_bytes) expert_bytes += bytes;
  auto const slots = static_cast<std::int64_t>(plan.after.slot_to_expert().size());
  REQUIRE(report.num_ranks == plan.before.num_ranks());
  REQUIRE(report.rows_checked == occupied(plan.after) * tensors);
  REQUIRE(report.bytes_checked == occupied(plan.after) * expert_bytes);
  REQUIRE(report.rows_untouched == (slots - occupied(plan.after)) * tensors);
  REQUIRE(report.bytes_sent == totals(plan).network_copies * expert_bytes);
  REQUIRE(report.bytes_sent == report.bytes_received);
}

TEST_CASE("2,000 random plans rehearse byte for byte in both modes, on fibers and on threads") {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    auto const pair = draw_placements(seed);
    RebalancePlan const plan = plan_rebalance(pair.before, pair.after);
    RehearsalOptions options;
    options.mode = kModes[seed % 2];
    options.seed = seed / 2;
    options.verify_rows = seed % 3 != 0;
    if (seed % 5 == 0) options.tensor_row_bytes = {1, 7, 13};
    if (seed % 25 == 0) options.scheduler = SchedulerKind::threads;
    INFO("placement seed ", seed);
    require_rehearsal_passes(plan, options);
  }
}

TEST_CASE("scale-up fills joining ranks and scale-down drains leaving ones") {
  for (int slots : {1, 3}) {
    auto const small = ExpertPlacement::trivial(3, 2 * slots, SlotLayout::uniform(2, slots));
    auto const large = ExpertPlacement::round_robin(3, 2 * slots, SlotLayout::uniform(4, slots));
    RankMapping const up{ScaleMode::scale_up, {RankId(2), RankId(0)}};
    RankMapping const down{ScaleMode::scale_down, {RankId(-1), RankId(1), RankId(0), RankId(-1)}};
    for (RebalanceMode mode : kModes) {
      RehearsalOptions options;
      options.mode = mode;
      require_rehearsal_passes(plan_rebalance(small, large, up), options);
      require_rehearsal_passes(plan_rebalance(large, small, down), options);
    }
  }
}

/// One way to damage a plan; `pick` selects where. @return whether it found something to damage.
bool damage(RebalancePlan& plan, std::uint64_t kind, CounterRng const& pick) {
  auto& layer = plan.layers[pick.below(1, plan.layers.size())];
  auto& rank = layer.ranks[pick.below(2, layer.ranks.size())];
  switch (kind) {
    case 0: return !rank.sends.empty() && (rank.sends.pop_back(), true);
    case 1: return !rank.receives.empty() && (rank.receives.pop_back(), true);
    case 2: return !rank.local_copies.empty() && (rank.local_copies.pop_back(), true);
    case 3: return !rank.duplicates.empty() && (rank.duplicates.pop_back(), true);
    case 4: return !rank.receives.empty() && (++rank.receives.front().target_row, true);
    case 5: return !rank.sends.empty() && (++rank.sends.front().source_row, true);
    case 6: return !rank.sends.empty() && (++rank.sends.front().expert, true);
    default: return !rank.local_copies.empty() && (++rank.local_copies.front().source_row, true);
  }
}

TEST_CASE("a damaged plan is refused before anything runs") {
  int damaged = 0;
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    auto const pair = draw_placements(seed);
    RebalancePlan plan = plan_rebalance(pair.before, pair.after);
    if (!damage(plan, seed % 8, CounterRng(seed, 9))) continue;
    INFO("placement seed ", seed, ", damage ", seed % 8);
    if (seed % 8 == 5 || seed % 8 == 7) {
      // Another row may hold the same expert; then the plan is still right and must still pass.
      if (validate(plan).empty()) {
        require_rehearsal_passes(plan, {});
        continue;
      }
    }
    ++damaged;
    CHECK_THROWS_WITH_AS((void)cpu::rehearse(io::to_json(plan), "plan.json"), doctest::Contains("invalid_plan"), Error);
  }
  MESSAGE(damaged, " damaged plans, all refused");
  CHECK(damaged > 300);
}

TEST_CASE("a changed digit in the file is refused") {
  auto const pair = draw_placements(12);
  std::string const text = io::to_json(plan_rebalance(pair.before, pair.after));
  int changed = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] < '0' || text[i] > '9') continue;
    std::string other = text;
    other[i] = text[i] == '9' ? '0' : static_cast<char>(text[i] + 1);
    INFO("byte ", i, " of ", text);
    CHECK_THROWS_AS((void)cpu::rehearse(other, "plan.json"), Error);
    ++changed;
  }
  CHECK(changed > 50);
}

TEST_CASE("the byte check names the first wrong byte, unwritten rows and padding") {
  SlotLayout const layout = SlotLayout::uniform(1, 3);
  ExpertPlacement const before(1, 3, layout, {ExpertId(0), ExpertId(1), kNoExpert});
  cpu::TaggedWeights const memory(before, RankId(0), {16, 8});
  cpu::TaggedWeights::Checked checked;
  CHECK(!memory.first_mismatch(before, checked));
  CHECK(checked.rows == 4);
  CHECK(checked.bytes == 2 * 24);
  CHECK(checked.untouched_rows == 2);
  ExpertPlacement const other(1, 3, layout, {ExpertId(0), ExpertId(2), kNoExpert});
  auto wrong = memory.first_mismatch(other, checked);
  REQUIRE(wrong);
  CHECK(wrong->text.find("layer 0, rank 0, row 1 (expert 2), tensor 0, byte ") == 0);
  CHECK(wrong->expected != wrong->got);
  memory.weights().row(0, 1, LocalExpertId(2))[7] ^= std::byte{1};
  wrong = memory.first_mismatch(before, checked);
  REQUIRE(wrong);
  CHECK(wrong->text == "layer 0, rank 0, row 2 (nothing may be written), tensor 1, byte 7: expected 0xa5, got 0xa4");
  memory.weights().row(0, 0, LocalExpertId(0)).data()[17] ^= std::byte{2};
  wrong = memory.first_mismatch(before, checked);
  REQUIRE(wrong);
  CHECK(wrong->text == "layer 0, rank 0, row 0 (nothing may be written), tensor 0, byte 17: expected 0xa5, got 0xa7");
  CHECK_THROWS_AS((void)cpu::TaggedWeights(before, RankId(0), {}), Error);
  CHECK_THROWS_AS((void)cpu::TaggedWeights(before, RankId(0), {4, 0}), Error);
}

}  // namespace
}  // namespace switchyard::test
