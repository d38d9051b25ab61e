// SPDX-License-Identifier: Apache-2.0
// ExpertLoadState under random orders of calls: what is in order gives what a plain list of all passes gives, what is
// out of order is refused and changes nothing. And the skip rules by hand.
//
// Worked example, interval 8, window 3, slots 0 1 0 of two experts: the counter starts at 8 - 8/4 = 6, so the second
// pass makes a rearrangement due. Passes 1 2 3, 4 5 6 give expert 0: 1+3+4+6 = 14, expert 1: 2+5 = 7.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "support/error_text.hpp"
#include "support/property.hpp"
#include "switchyard/placement/load_state.hpp"

using doctest::Approx;
using switchyard::ErrorCode;
using switchyard::ExpertId;
using switchyard::ExpertLoad;
using switchyard::ExpertLoadState;
using switchyard::ExpertPlacement;
using switchyard::LoadAverage;
using switchyard::LoadPhase;
using switchyard::LoadStateConfig;
using switchyard::SkipReason;
using switchyard::SkipRules;
using switchyard::SlotLayout;

namespace {

using Counts = std::vector<std::int64_t>;
using Doubles = std::vector<double>;

ExpertPlacement placement_of(std::vector<int> const& ids, int layers, int experts, int ranks) {
  std::vector<ExpertId> slots;
  for (int const id : ids) slots.emplace_back(id);
  int const per_layer = static_cast<int>(ids.size()) / layers;
  return ExpertPlacement(layers, experts, SlotLayout::balanced(ranks, per_layer), slots);
}

LoadStateConfig every(int interval, int window) {
  LoadStateConfig config;
  config.step_interval = interval;
  config.window_passes = window;
  return config;
}

/// One closed pass: its counts by slot, and which expert each slot held.
struct Pass {
  Counts counts;
  std::vector<int> ids;
};

/// The loads of the last passes by their definition.
Doubles expected_load(std::vector<Pass> const& passes, LoadStateConfig const& config, int layers, int experts) {
  auto const per_step = static_cast<std::size_t>(layers * experts);
  bool const is_window = config.average == LoadAverage::window;
  auto const kept = is_window ? std::min(passes.size(), static_cast<std::size_t>(config.window_passes)) : passes.size();
  Doubles load(per_step * static_cast<std::size_t>(config.load_steps), 0.0);
  for (std::size_t i = 0; i < kept; ++i) {
    Pass const& pass = passes[passes.size() - kept + i];
    Doubles of_pass(per_step, 0.0);
    auto const slots = pass.ids.size() / static_cast<std::size_t>(layers);
    for (std::size_t slot = 0; slot < pass.ids.size(); ++slot) {
      if (pass.ids[slot] < 0) continue;
      auto const row = slot / slots * static_cast<std::size_t>(experts);
      of_pass[row + static_cast<std::size_t>(pass.ids[slot])] += static_cast<double>(pass.counts[slot]);
    }
    auto const step = i * static_cast<std::size_t>(config.load_steps) / kept;
    for (std::size_t e = 0; e < per_step; ++e) {
      auto& sum = load[step * per_step + e];
      sum = is_window ? sum + of_pass[e] : sum * config.decay + of_pass[e];
    }
  }
  return load;
}

/// A random walk over the calls of one state, with a model of what must come out.
class Walk {
 public:
  Walk()
      : layers_(support::draw(1, 3)),
        experts_(support::draw(1, 5)),
        slots_(experts_ + support::draw(0, 4)),
        config_(random_config()),
        ids_(random_ids()),
        state_(config_, placement_of(ids_, layers_, experts_, 1)) {
    open_.assign(ids_.size(), 0);
    int const first = config_.first_after > 0 ? config_.first_after : std::max(config_.step_interval / 4, 1);
    until_due_ = first;
  }

  void step() {
    switch (support::draw(0, 9)) {
      case 0:
      case 1:
      case 2: return record();
      case 3:
      case 4:
      case 5: return end_pass(support::draw(0, 4) == 0);
      case 6: return begin_reduction();
      case 7: return finish_reduction();
      default: return finish();
    }
  }

  int rearrangements = 0;
  int refusals = 0;

 private:
  static LoadStateConfig random_config() {
    auto config = every(support::draw(1, 12), support::draw(1, 6));
    if (support::draw(0, 2) == 0) config.first_after = support::draw(1, config.step_interval + 1);
    if (support::draw(0, 3) == 0) {
      config.average = LoadAverage::exponential;
      config.decay = support::draw(0, 4) * 0.25;
    } else {
      config.load_steps = support::draw(1, config.window_passes + 1);
    }
    return config;
  }

  std::vector<int> random_ids() const {
    return support::draw_list(static_cast<std::size_t>(layers_ * slots_), -1, experts_);
  }

  template <typename Call>
  void refuse(Call const& call) {
    auto const phase = state_.phase();
    auto const passes = state_.passes();
    auto const window = state_.passes_in_window();
    auto const counter = state_.step();
    RC_ASSERT(support::contains(support::error_text(ErrorCode::invalid_argument, call), "was c"));
    RC_ASSERT(state_.phase() == phase && state_.passes() == passes && state_.passes_in_window() == window);
    RC_ASSERT(state_.step() == counter);
    ++refusals;
  }

  void record() {
    Counts counts;
    for (int const id : ids_) counts.push_back(id < 0 ? 0 : support::draw<std::int64_t>(0, 1000));
    state_.record(counts);
    for (std::size_t i = 0; i < counts.size(); ++i) open_[i] += counts[i];
    is_open_ = true;
  }

  void end_pass(bool is_dummy) {
    if (is_dummy && is_open_) return refuse([&] { return state_.end_pass(true); });
    bool const due = state_.end_pass(is_dummy);
    if (!is_dummy) passes_.push_back({open_, ids_});
    open_.assign(open_.size(), 0);
    is_open_ = false;
    until_due_ = std::max(until_due_ - 1, 0);
    RC_ASSERT(due == (until_due_ == 0 && phase_ == LoadPhase::recording));
    if (due) {
      phase_ = LoadPhase::due;
      until_due_ = config_.step_interval;
    }
    RC_ASSERT(state_.phase() == phase_);
  }

  void begin_reduction() {
    if (phase_ != LoadPhase::due) return refuse([&] { return state_.begin_reduction().size(); });
    reduced_ = state_.begin_reduction();
    RC_ASSERT(reduced_ == expected_load(passes_, config_, layers_, experts_));
    phase_ = LoadPhase::reducing;
  }

  void finish_reduction() {
    if (phase_ != LoadPhase::reducing) return refuse([&] { return state_.finish_reduction(reduced_); });
    bool const has_load = std::any_of(reduced_.begin(), reduced_.end(), [](double load) { return load > 0; });
    RC_ASSERT(state_.finish_reduction(reduced_) == (has_load ? SkipReason::none : SkipReason::no_load));
    phase_ = has_load ? LoadPhase::planning : LoadPhase::recording;
    RC_ASSERT(state_.phase() == phase_);
  }

  void finish() {
    auto ids = random_ids();
    auto const placement = placement_of(ids, layers_, experts_, 1);
    auto const commit = [&] {
      state_.commit(placement);
      return 0;
    };
    if (phase_ != LoadPhase::planning || is_open_) {
      refuse(commit);
      if (phase_ == LoadPhase::planning) return;
      refuse([&] {
        state_.keep();
        return 0;
      });
      return refuse([&] { return state_.load().num_steps(); });
    }
    auto const values = state_.load().values();
    RC_ASSERT(Doubles(values.begin(), values.end()) == reduced_);
    phase_ = LoadPhase::recording;
    ++rearrangements;
    if (support::draw(0, 3) == 0) return state_.keep();
    commit();
    ids_ = std::move(ids);
    RC_ASSERT(state_.placement() == placement);
  }

  int layers_;
  int experts_;
  int slots_;
  LoadStateConfig config_;
  std::vector<int> ids_;
  ExpertLoadState state_;
  Counts open_{};
  bool is_open_ = false;
  std::vector<Pass> passes_{};
  int until_due_ = 0;
  LoadPhase phase_ = LoadPhase::recording;
  Doubles reduced_{};
};

}  // namespace

TEST_CASE("any order of calls: in order it equals the definition, out of order it is refused") {
  int rearrangements = 0;
  int refusals = 0;
  CHECK(support::holds("load state", 300, [&] {
    Walk walk;
    for (int i = 0; i < 150; ++i) walk.step();
    rearrangements += walk.rearrangements;
    refusals += walk.refusals;
  }));
  MESSAGE("rearrangements " << rearrangements << ", refusals " << refusals);
  CHECK(rearrangements > 300);
  CHECK(refusals > 1000);
}

TEST_CASE("the worked example: first after a quarter, counts become logical by the map in force") {
  ExpertLoadState state(every(8, 3), placement_of({0, 1, 0}, 1, 2, 1));
  state.record(Counts{1, 2, 3});
  CHECK_FALSE(state.end_pass());
  state.record(Counts{4, 5, 6});
  CHECK(state.end_pass());
  CHECK(state.begin_reduction() == Doubles{14, 7});
  CHECK(state.finish_reduction({28, 14}) == SkipReason::none);
  CHECK(state.load() == ExpertLoad(1, 1, 2, {28, 14}));
  state.commit(placement_of({1, 1, 0}, 1, 2, 1));
  for (int pass = 0; pass < 7; ++pass) CHECK_FALSE(state.end_pass(true));  // dummies count towards the interval only
  state.record(Counts{1, 0, 0});
  CHECK(state.end_pass());
  CHECK(state.passes_in_window() == 3);
  CHECK(state.begin_reduction() == Doubles{14, 8});
}

TEST_CASE("a rearrangement that takes longer than the interval is due again right after it") {
  ExpertLoadState state(every(2, 4), placement_of({0}, 1, 1, 1));
  state.record(Counts{5});
  CHECK(state.end_pass());
  (void)state.begin_reduction();
  for (int pass = 0; pass < 5; ++pass) CHECK_FALSE(state.end_pass(true));
  CHECK(state.finish_reduction({5}) == SkipReason::none);
  state.keep();
  CHECK(state.end_pass(true));
}

TEST_CASE("SGLang's rule skips while the group is well used") {
  auto config = every(1, 4);
  config.skip.max_utilisation = 0.8;
  config.skip.utilisation_passes = 2;
  ExpertLoadState state(config, placement_of({0}, 1, 1, 1));
  auto const run = [&] {
    state.record(Counts{1});
    CHECK(state.end_pass());
    return state.finish_reduction(state.begin_reduction());
  };
  state.record_utilisation(0.1);
  state.record_utilisation(0.9);
  state.record_utilisation(0.75);  // mean of the last two: 0.825
  CHECK(run() == SkipReason::well_utilised);
  CHECK(state.phase() == LoadPhase::recording);
  state.record_utilisation(0.8);  // 0.775
  CHECK(run() == SkipReason::none);
  CHECK(support::contains(support::error_text(ErrorCode::invalid_argument,
                                              [&] {
                                                state.record_utilisation(0);
                                                return 0;
                                              }),
                          "utilisation 0"));
  // Two layers on ranks 0 1 | 2: 3 against 1, then 2 against 2.
  auto const placement = placement_of({0, 1, 2, 0, 1, 2}, 2, 3, 2);
  CHECK(pass_utilisation(Counts{1, 2, 1, 2, 0, 2}, placement) == Approx((2.0 / 3 + 1) / 2).epsilon(1e-5));
  CHECK(pass_utilisation(Counts(6, 0), placement) == 1);
}

TEST_CASE("rules that compare placements: per layer, then as a whole") {
  // Layer 0: 8 + 2 against 1 + 1 becomes 9 and 3; layer 1: 4 against 4 becomes 5 against 3.
  ExpertLoad const load(1, 2, 4, {8, 2, 1, 1, 3, 1, 2, 2});
  auto const current = placement_of({0, 1, 2, 3, 0, 1, 2, 3}, 2, 4, 2);
  auto const candidate = placement_of({0, 3, 2, 1, 0, 2, 1, 3}, 2, 4, 2);
  auto const all = judge_candidate({}, load, current, candidate);
  CHECK(all.reason == SkipReason::none);
  CHECK(all.placement == candidate);
  // Variation of layer 0 falls from 4/6 to 3/6, of layer 1 it rises.
  auto const some = judge_candidate({.min_variation_drop = 0.1}, load, current, candidate);
  CHECK(some.reason == SkipReason::none);
  CHECK(some.layers_taken == std::vector<bool>{true, false});
  CHECK(some.placement == placement_of({0, 3, 2, 1, 0, 1, 2, 3}, 2, 4, 2));
  auto const none = judge_candidate({.min_variation_drop = 0.2}, load, current, candidate);
  CHECK(none.reason == SkipReason::unchanged);
  CHECK(none.placement == current);
  // PAR 10/6 + 1 becomes 9/6 + 5/4 = 2.75: worse. With layer 0 alone 2.5 of 2.667: a gain of 6.25 %.
  CHECK(judge_candidate({.min_par_gain = 0.001}, load, current, candidate).reason == SkipReason::small_gain);
  CHECK(judge_candidate({.min_variation_drop = 0.1, .min_par_gain = 0.0624}, load, current, candidate).reason ==
        SkipReason::none);
  auto const small = judge_candidate({.min_variation_drop = 0.1, .min_par_gain = 0.0626}, load, current, candidate);
  CHECK(small.reason == SkipReason::small_gain);
  CHECK(small.layers_taken == std::vector<bool>{false, false});
  CHECK(judge_candidate({}, load, current, current).reason == SkipReason::unchanged);
  CHECK(support::contains(
      support::error_text(
          ErrorCode::shape_mismatch,
          [&] {
            return judge_candidate({}, load, current, placement_of({0, 1, 2, 3, 0, 1, 2, 3}, 2, 4, 1)).reason;
          }),
      "skip rules compare placements of one model on the same ranks"));
}

TEST_CASE("configurations and counts that make no sense are refused") {
  auto const placement = placement_of({0, -1}, 1, 1, 1);
  auto const text = [&](LoadStateConfig const& config) {
    return support::error_text(ErrorCode::invalid_argument, [&] { return ExpertLoadState(config, placement).step(); });
  };
  CHECK(support::contains(text(every(0, 1)), "rearrangement every 0"));
  CHECK(support::contains(text(every(1, 0)), "window of 0 passes"));
  auto config = every(5, 5);
  config.first_after = 6;
  CHECK(support::contains(text(config), "first rearrangement after 6"));
  config = every(5, 5);
  config.decay = 1;
  CHECK(support::contains(text(config), "decay 1"));
  config = every(5, 5);
  config.load_steps = 6;
  CHECK(support::contains(text(config), "6 load steps"));
  ExpertLoadState state(every(5, 5), placement);
  auto const record = [&](Counts const& counts) {
    return support::error_text(ErrorCode::invalid_argument, [&] {
      state.record(counts);
      return 0;
    });
  };
  CHECK(support::contains(record({-1, 0}), "-1 tokens for slot 0 of layer 0, which holds expert 0"));
  CHECK(support::contains(record({1, 2}), "2 tokens for slot 1 of layer 0, which is empty"));
  CHECK(support::contains(support::error_text(ErrorCode::shape_mismatch,
                                              [&] {
                                                state.record(Counts{1});
                                                return 0;
                                              }),
                          "1 counts for 1 layers x 2 slots"));
  CHECK(support::contains(support::error_text(ErrorCode::invalid_placement,
                                              [&] { return ExpertLoadState({}, placement_of({3}, 1, 1, 1)).step(); }),
                          "3"));
}
