// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/shared_expert.hpp"

#include <array>
#include <utility>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

using Event = OverlapEvent;
using Stage = SharedExpertStage;
using Schedule = std::array<OverlapPoint, to_size(kSharedExpertStages)>;

constexpr Schedule kAllToAll{{{Event::metadata_ready, Stage::pre_forward_comm},
                              {Event::dispatch_issued, Stage::fc1},
                              {Event::combine_issued, Stage::fc2},
                              {Event::combine_issued, Stage::post_forward_comm},
                              {Event::combine_done, Stage::output}}};
constexpr Schedule kFlex{{{Event::dispatch_done, Stage::pre_forward_comm},
                          {Event::dispatch_done, Stage::fc1},
                          {Event::combine_issued, Stage::fc2},
                          {Event::combine_done, Stage::post_forward_comm},
                          {Event::combine_done, Stage::output}}};
constexpr Schedule kNone{{{Event::metadata_ready, Stage::pre_forward_comm},
                          {Event::metadata_ready, Stage::fc1},
                          {Event::metadata_ready, Stage::fc2},
                          {Event::metadata_ready, Stage::post_forward_comm},
                          {Event::combine_done, Stage::output}}};

}  // namespace

std::string_view to_string(SharedExpertStage stage) noexcept {
  switch (stage) {
    case Stage::pre_forward_comm: return "pre_forward_comm";
    case Stage::fc1: return "fc1";
    case Stage::fc2: return "fc2";
    case Stage::post_forward_comm: return "post_forward_comm";
    case Stage::output: return "output";
  }
  return "unknown";
}

std::string_view to_string(OverlapEvent event) noexcept {
  switch (event) {
    case Event::metadata_ready: return "metadata_ready";
    case Event::dispatch_issued: return "dispatch_issued";
    case Event::dispatch_done: return "dispatch_done";
    case Event::combine_issued: return "combine_issued";
    case Event::combine_done: return "combine_done";
  }
  return "unknown";
}

std::span<OverlapPoint const> alltoall_overlap() noexcept {
  return kAllToAll;
}
std::span<OverlapPoint const> flex_overlap() noexcept {
  return kFlex;
}
std::span<OverlapPoint const> no_overlap() noexcept {
  return kNone;
}

std::vector<std::string> problems_in(std::span<OverlapPoint const> schedule) {
  std::vector<std::string> problems;
  if (schedule.size() != to_size(kSharedExpertStages))
    problems.push_back(
        fmt::format("{} stages are scheduled, a shared expert has {}", schedule.size(), kSharedExpertStages));
  for (std::size_t i = 0; i < schedule.size(); ++i) {
    auto const [event, stage] = schedule[i];
    if (to_size(static_cast<int>(stage)) != i)
      problems.push_back(
          fmt::format("stage {} of the schedule is {}: each comes once, in its order", i, to_string(stage)));
    if (static_cast<int>(event) >= kOverlapEvents)
      problems.push_back(fmt::format("stage {} waits for event {}, which does not exist", i, static_cast<int>(event)));
    if (i > 0 && event < schedule[i - 1].event)
      problems.push_back(fmt::format("stage {} waits for {}, which is before {} of the stage before it", i,
                                     to_string(event), to_string(schedule[i - 1].event)));
  }
  return problems;
}

void SharedExpertState::start(SharedExpertStage stage) {
  SWITCHYARD_REQUIRE(stage == next(), invalid_argument,
                     "shared expert: {} was started, but {} is due: start the stages once each, in order, or reset() "
                     "after a failed step",
                     to_string(stage), to_string(next()));
  done_ = (done_ + 1) % kSharedExpertStages;
}

SharedExpertSequence::SharedExpertSequence(std::vector<OverlapPoint> schedule,
                                           std::function<void(SharedExpertStage)> run)
    : schedule_(std::move(schedule)), run_(std::move(run)) {
  std::string text;
  for (auto const& problem : problems_in(schedule_)) text += (text.empty() ? "" : "; ") + problem;
  SWITCHYARD_REQUIRE(text.empty(), invalid_argument, "overlap schedule of a shared expert: {}", text);
  SWITCHYARD_REQUIRE(run_ != nullptr, invalid_argument, "a shared expert's sequence needs something that runs stages");
}

void SharedExpertSequence::at(OverlapEvent event) {
  SWITCHYARD_REQUIRE(static_cast<int>(event) == next_event_, invalid_argument,
                     "shared expert: event {} was reported, but {} is due: report every event of a dispatch once, in "
                     "order, or reset() after a failed step",
                     to_string(event), to_string(static_cast<Event>(next_event_)));
  for (auto const& point : schedule_) {
    if (point.event != event) continue;
    state_.start(point.stage);
    run_(point.stage);
  }
  next_event_ = (next_event_ + 1) % kOverlapEvents;
}

void SharedExpertSequence::reset() noexcept {
  state_.reset();
  next_event_ = 0;
}

}  // namespace switchyard
