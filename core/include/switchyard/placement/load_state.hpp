// SPDX-License-Identifier: Apache-2.0
/// ExpertLoadState: when a serving engine rebalances, and on which loads. A small state machine to embed in every rank.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/placement/skip_rules.hpp"

namespace switchyard {

/// How the passes' counts become a load.
enum class LoadAverage : std::uint8_t {
  window,       ///< the sum over the last window_passes passes (vLLM, SGLang)
  exponential,  ///< load = load * decay + counts, after every pass (TensorRT-LLM); no window is kept
};

struct LoadStateConfig {
  int window_passes = 1000;  ///< recorded passes kept; window only
  int step_interval = 3000;  ///< passes, dummy ones included, between rearrangements
  /// Passes before the first rearrangement; -1: a quarter of the interval, rounded down (at least 1), as vLLM has it.
  int first_after = -1;
  LoadAverage average = LoadAverage::window;
  double decay = 0;    ///< exponential only: in [0, 1)
  int load_steps = 1;  ///< window only: the window is cut into this many equal runs of passes, oldest first, so that a
                       ///< policy can look at variance; at most window_passes
  SkipRules skip{};
};

/// Where a rank stands. Passes may be recorded and closed in every phase, because an engine goes on serving.
enum class LoadPhase : std::uint8_t {
  recording,  ///< waiting for the interval
  due,        ///< end_pass() said so: begin_reduction() comes next
  reducing,   ///< the group adds up local loads: finish_reduction() comes next
  planning,   ///< load() is the group's; commit() or keep() ends it
};
[[nodiscard]] std::string_view to_string(LoadPhase phase) noexcept;

/// One rank's loads. Counts are physical and become logical, by the placement in force, when their pass is closed; so
/// a later change of the placement does not falsify what was recorded before it (vLLM keeps physical counts).
///
/// The order of calls over a rearrangement:
///   (record* end_pass)*  until end_pass() returns true  ->  begin_reduction()  ->  the engine all-reduces  ->
///   finish_reduction()   ->  load(), a policy, judge()  ->  commit() or keep()
/// All ranks make the same calls, because passes are collective; only the counts differ. Any other order is an error
/// and changes nothing. Not thread-safe; a value that owns everything.
class ExpertLoadState {
 public:
  /// @throws Error{invalid_argument} for a window, interval, decay or number of steps out of range,
  ///         Error{invalid_placement} if the placement names an unknown expert.
  ExpertLoadState(LoadStateConfig const& config, ExpertPlacement placement);

  /// Adds tokens of the open pass, several times if the engine likes (per layer, per micro-batch).
  /// @param slot_counts [layers * slots] tokens of this rank for every physical slot; padding is not counted.
  /// @throws Error{shape_mismatch} for another length, Error{invalid_argument} for a negative count or one for an
  ///         empty slot, naming layer and slot.
  void record(std::span<std::int64_t const> slot_counts);

  /// Closes the pass. @param is_dummy a pass without own requests, run so that collectives match: it counts towards the
  /// interval and not towards the window. @return whether a rearrangement is due now.
  /// @throws Error{invalid_argument} for a dummy pass with recorded tokens.
  [[nodiscard]] bool end_pass(bool is_dummy = false);

  /// How evenly the last pass kept the group busy, in (0, 1]: for SkipRules::max_utilisation. See pass_utilisation().
  /// @throws Error{invalid_argument} outside (0, 1].
  void record_utilisation(double utilisation);

  /// @return this rank's loads [load_steps][layers][experts], to be added up over the group. Whole numbers unless
  ///         averaged exponentially, so the order of additions does not matter below 2^53.
  [[nodiscard]] std::vector<double> begin_reduction();
  /// @param group_load the sums over all ranks, as begin_reduction() returns them.
  /// @return why nothing is to be planned (the phase is recording again), or SkipReason::none (planning).
  SkipReason finish_reduction(std::vector<double> group_load);

  /// Planning only. @return the group's load, what a policy is to plan for.
  [[nodiscard]] ExpertLoad const& load() const;
  /// Planning only. @return what of `candidate` is worth moving, and if nothing, why. Changes nothing.
  [[nodiscard]] SkipVerdict judge(ExpertPlacement const& candidate) const;
  /// Planning only: `placement` is in force from the next pass on. @throws Error{invalid_argument} while tokens of an
  /// open pass are recorded under the old one, Error{shape_mismatch} for another model, Error{invalid_placement}.
  void commit(ExpertPlacement placement);
  /// Planning only: the old placement stays.
  void keep();

  [[nodiscard]] LoadPhase phase() const noexcept { return phase_; }
  [[nodiscard]] ExpertPlacement const& placement() const noexcept { return placement_; }
  [[nodiscard]] std::int64_t passes() const noexcept { return passes_; }
  /// @return recorded passes that the window holds, at most window_passes; 0 when averaged exponentially.
  [[nodiscard]] int passes_in_window() const noexcept { return static_cast<int>(window_.size()); }
  /// @return passes since the last rearrangement became due.
  [[nodiscard]] int step() const noexcept { return step_; }

 private:
  using PassCounts = std::vector<std::uint32_t>;  // [layers * experts]

  void require_phase(LoadPhase phase, std::string_view call) const;
  [[nodiscard]] PassCounts logical_counts() const;
  void add_to_average(PassCounts const& counts);

  LoadStateConfig config_;
  ExpertPlacement placement_;
  std::vector<std::int64_t> open_pass_;  // [layers * slots]
  bool has_open_counts_ = false;
  std::deque<PassCounts> window_{};
  std::vector<double> average_;  // exponential: [layers * experts]
  std::deque<double> utilisations_{};
  LoadPhase phase_ = LoadPhase::recording;
  int step_ = 0;
  std::int64_t passes_ = 0;
  ExpertLoad group_load_{};
};

}  // namespace switchyard
