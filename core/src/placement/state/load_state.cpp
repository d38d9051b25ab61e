// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/load_state.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "../policy_request.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {

namespace {

void require_config(LoadStateConfig const& config) {
  SWITCHYARD_REQUIRE(config.window_passes >= 1 && config.step_interval >= 1, invalid_argument,
                     "window of {} passes, rearrangement every {}: both must be at least 1", config.window_passes,
                     config.step_interval);
  SWITCHYARD_REQUIRE(config.first_after >= -1 && config.first_after != 0 && config.first_after <= config.step_interval,
                     invalid_argument, "first rearrangement after {} passes: between 1 and the interval {}, or -1",
                     config.first_after, config.step_interval);
  SWITCHYARD_REQUIRE(config.decay >= 0 && config.decay < 1, invalid_argument,
                     "decay {} per pass: it must be at least 0 and below 1", config.decay);
  bool const is_window = config.average == LoadAverage::window;
  SWITCHYARD_REQUIRE(config.load_steps >= 1 && config.load_steps <= (is_window ? config.window_passes : 1),
                     invalid_argument, "{} load steps of a window of {} passes: between 1 and {}", config.load_steps,
                     config.window_passes, is_window ? config.window_passes : 1);
  SWITCHYARD_REQUIRE(config.skip.utilisation_passes >= 1, invalid_argument,
                     "mean utilisation of {} passes: at least 1 is needed", config.skip.utilisation_passes);
}

/// vLLM's counter starts that far from the interval.
int initial_step(LoadStateConfig const& config) {
  int const quarter = std::max(config.step_interval / 4, 1);
  return config.step_interval - (config.first_after < 0 ? quarter : config.first_after);
}

std::size_t logical_size(ExpertPlacement const& placement) {
  return to_size(checked_mul(placement.num_layers(), placement.num_experts()));
}

}  // namespace

std::string_view to_string(LoadPhase phase) noexcept {
  switch (phase) {
    case LoadPhase::recording: return "recording";
    case LoadPhase::due: return "due";
    case LoadPhase::reducing: return "reducing";
    case LoadPhase::planning: return "planning";
  }
  return "unknown";
}

ExpertLoadState::ExpertLoadState(LoadStateConfig const& config, ExpertPlacement placement)
    : config_(config),
      placement_(std::move(placement)),
      open_pass_(placement_.slot_to_expert().size(), 0),
      average_(config.average == LoadAverage::exponential ? logical_size(placement_) : 0, 0.0) {
  require_config(config_);
  placement::require_known_experts(placement_);
  step_ = initial_step(config_);
}

void ExpertLoadState::require_phase(LoadPhase phase, std::string_view call) const {
  SWITCHYARD_REQUIRE(phase_ == phase, invalid_argument,
                     "{} was called while {}, it belongs to {}: the order is end_pass, begin_reduction, "
                     "finish_reduction, then commit or keep",
                     call, to_string(phase_), to_string(phase));
}

void ExpertLoadState::record(std::span<std::int64_t const> slot_counts) {
  SWITCHYARD_REQUIRE(slot_counts.size() == open_pass_.size(), shape_mismatch,
                     "{} counts for {} layers x {} slots: one per physical slot is needed", slot_counts.size(),
                     placement_.num_layers(), placement_.num_slots());
  auto const slots = to_size(placement_.num_slots());
  for (std::size_t i = 0; i < slot_counts.size(); ++i) {
    bool const is_empty = !placement_.slot_to_expert()[i].valid();
    SWITCHYARD_REQUIRE(
        slot_counts[i] >= 0 && (slot_counts[i] == 0 || !is_empty), invalid_argument,
        "{} tokens for slot {} of layer {}, which {}: counts are of tokens that were served", slot_counts[i], i % slots,
        i / slots,
        is_empty ? std::string("is empty") : fmt::format("holds expert {}", placement_.slot_to_expert()[i].value()));
  }
  for (std::size_t i = 0; i < slot_counts.size(); ++i) {
    open_pass_[i] = checked_add(open_pass_[i], slot_counts[i]);
  }
  has_open_counts_ = true;
}

ExpertLoadState::PassCounts ExpertLoadState::logical_counts() const {
  std::vector<std::int64_t> sums(logical_size(placement_), 0);
  auto const slots = to_size(placement_.num_slots());
  for (std::size_t i = 0; i < open_pass_.size(); ++i) {
    ExpertId const expert = placement_.slot_to_expert()[i];
    if (!expert.valid()) continue;
    auto& sum = sums[i / slots * to_size(placement_.num_experts()) + expert.index()];
    sum = checked_add(sum, open_pass_[i]);
    SWITCHYARD_REQUIRE(sum <= std::numeric_limits<std::uint32_t>::max(), invalid_argument,
                       "{} tokens for expert {} of layer {} in one pass: at most 2^32 - 1 are counted", sum,
                       expert.value(), i / slots);
  }
  return {sums.begin(), sums.end()};
}

void ExpertLoadState::add_to_average(PassCounts const& counts) {
  for (std::size_t i = 0; i < counts.size(); ++i) {
    average_[i] = average_[i] * config_.decay + static_cast<double>(counts[i]);
  }
}

bool ExpertLoadState::end_pass(bool is_dummy) {
  SWITCHYARD_REQUIRE(!is_dummy || !has_open_counts_, invalid_argument,
                     "a dummy pass was closed with recorded tokens: a dummy pass serves nobody, do not record in it");
  if (!is_dummy) {
    auto counts = logical_counts();
    if (config_.average == LoadAverage::exponential) {
      add_to_average(counts);
    } else {
      window_.push_back(std::move(counts));
      if (window_.size() > to_size(config_.window_passes)) window_.pop_front();
    }
    std::fill(open_pass_.begin(), open_pass_.end(), 0);
    has_open_counts_ = false;
  }
  ++passes_;
  step_ = std::min(step_ + 1, config_.step_interval);
  if (phase_ != LoadPhase::recording || step_ < config_.step_interval) return false;
  step_ = 0;
  phase_ = LoadPhase::due;
  return true;
}

void ExpertLoadState::record_utilisation(double utilisation) {
  SWITCHYARD_REQUIRE(utilisation > 0 && utilisation <= 1, invalid_argument,
                     "utilisation {} of a pass: mean over maximum is above 0 and at most 1", utilisation);
  utilisations_.push_back(utilisation);
  if (utilisations_.size() > to_size(config_.skip.utilisation_passes)) utilisations_.pop_front();
}

std::vector<double> ExpertLoadState::begin_reduction() {
  require_phase(LoadPhase::due, "begin_reduction");
  phase_ = LoadPhase::reducing;
  if (config_.average == LoadAverage::exponential) return average_;
  std::size_t const per_step = logical_size(placement_);
  std::vector<double> sums(per_step * to_size(config_.load_steps), 0.0);
  for (std::size_t pass = 0; pass < window_.size(); ++pass) {
    std::size_t const step = pass * to_size(config_.load_steps) / window_.size();
    for (std::size_t i = 0; i < per_step; ++i) sums[step * per_step + i] += static_cast<double>(window_[pass][i]);
  }
  return sums;
}

SkipReason ExpertLoadState::finish_reduction(std::vector<double> group_load) {
  require_phase(LoadPhase::reducing, "finish_reduction");
  group_load_ =
      ExpertLoad(config_.load_steps, placement_.num_layers(), placement_.num_experts(), std::move(group_load));
  SkipReason reason = SkipReason::none;
  auto const values = group_load_.values();
  double const utilisations = std::accumulate(utilisations_.begin(), utilisations_.end(), 0.0);
  if (std::all_of(values.begin(), values.end(), [](double load) { return load == 0; })) {
    reason = SkipReason::no_load;
  } else if (utilisations > config_.skip.max_utilisation * static_cast<double>(utilisations_.size())) {
    reason = SkipReason::well_utilised;
  }
  phase_ = reason == SkipReason::none ? LoadPhase::planning : LoadPhase::recording;
  return reason;
}

ExpertLoad const& ExpertLoadState::load() const {
  require_phase(LoadPhase::planning, "load");
  return group_load_;
}

SkipVerdict ExpertLoadState::judge(ExpertPlacement const& candidate) const {
  require_phase(LoadPhase::planning, "judge");
  return judge_candidate(config_.skip, group_load_.summed(), placement_, candidate);
}

void ExpertLoadState::commit(ExpertPlacement placement) {
  require_phase(LoadPhase::planning, "commit");
  SWITCHYARD_REQUIRE(
      !has_open_counts_, invalid_argument,
      "a placement was committed inside a pass, whose counts belong to the old one: close the pass first");
  SWITCHYARD_REQUIRE(
      placement.num_layers() == placement_.num_layers() && placement.num_experts() == placement_.num_experts(),
      shape_mismatch, "the new placement has {} layers x {} experts, the loads {} x {}", placement.num_layers(),
      placement.num_experts(), placement_.num_layers(), placement_.num_experts());
  placement::require_known_experts(placement);
  placement_ = std::move(placement);
  open_pass_.assign(placement_.slot_to_expert().size(), 0);
  phase_ = LoadPhase::recording;
}

void ExpertLoadState::keep() {
  require_phase(LoadPhase::planning, "keep");
  phase_ = LoadPhase::recording;
}

}  // namespace switchyard
