// SPDX-License-Identifier: Apache-2.0
/// SharedExpertSequence: the stages of a shared expert, and where an executor may run them beside a dispatch.
///
/// A shared expert sees every token of its rank and needs no dispatch, so its work hides the exchange's. Its five
/// stages have one legal order; when each is started is data, an overlap schedule. Source: Megatron-Core
/// shared_experts.py and token_dispatcher.py (the asserts there are errors with a text here).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

enum class SharedExpertStage : std::uint8_t {
  pre_forward_comm,   ///< all-gather of the tokens over TP
  fc1,                ///< first layer and activation
  fc2,                ///< second layer
  post_forward_comm,  ///< reduce-scatter of the result over TP
  output,             ///< hand the result over: the caller adds it after the unpermute, routed + shared
};
inline constexpr int kSharedExpertStages = 5;
[[nodiscard]] std::string_view to_string(SharedExpertStage stage) noexcept;

/// Moments of a dispatch at which an executor can start something else, in the order in which they occur.
enum class OverlapEvent : std::uint8_t {
  metadata_ready,   ///< the plan is known, nothing was permuted
  dispatch_issued,  ///< the exchange of rows is under way
  dispatch_done,    ///< the experts have their rows
  combine_issued,   ///< the exchange back is under way
  combine_done,     ///< tokens are summed, the shared expert's result not yet added
};
inline constexpr int kOverlapEvents = 5;
[[nodiscard]] std::string_view to_string(OverlapEvent event) noexcept;

/// `stage` is started at `event`.
struct OverlapPoint {
  OverlapEvent event;
  SharedExpertStage stage;
  friend constexpr bool operator==(OverlapPoint const&, OverlapPoint const&) = default;
};

/// All stages in their order; static storage.
/// AlltoAll: tokens are gathered before the permute, fc1 runs beside the dispatch, fc2 and the reduce-scatter beside
/// the combine.
[[nodiscard]] std::span<OverlapPoint const> alltoall_overlap() noexcept;
/// Flex: gather and fc1 after the dispatch, fc2 and reduce-scatter around the combine.
[[nodiscard]] std::span<OverlapPoint const> flex_overlap() noexcept;
/// Everything before the dispatch is issued and the sum at its end: for dispatchers that offer no overlap (AllGather,
/// MegaBlocks).
[[nodiscard]] std::span<OverlapPoint const> no_overlap() noexcept;

/// @return what a schedule breaks: a stage missing, repeated or out of order, events that go backwards; empty if sound.
[[nodiscard]] std::vector<std::string> problems_in(std::span<OverlapPoint const> schedule);

/// The state machine: idle, then every stage once in order, then idle again. One object per layer and rank; not shared
/// between threads.
class SharedExpertState {
 public:
  /// @return the stage that must come next.
  [[nodiscard]] SharedExpertStage next() const noexcept { return static_cast<SharedExpertStage>(done_); }
  [[nodiscard]] bool idle() const noexcept { return done_ == 0; }
  /// Records that `stage` is started; after output the machine is idle.
  /// @throws Error{invalid_argument} for any stage but next(), naming both; the state stays.
  void start(SharedExpertStage stage);
  /// Back to idle, after a failed step.
  void reset() noexcept { done_ = 0; }

 private:
  int done_ = 0;
};

/// Runs stages at the events of a schedule: an executor calls at(event) at each of its moments, in order.
class SharedExpertSequence {
 public:
  /// @param run carries one stage out. @throws Error{invalid_argument} with every problem of the schedule.
  SharedExpertSequence(std::vector<OverlapPoint> schedule, std::function<void(SharedExpertStage)> run);

  /// Runs what is due at `event`, in schedule order. A stage that throws leaves the sequence in need of a reset().
  /// @throws Error{invalid_argument} unless every earlier event of this pass has been reported exactly once.
  void at(OverlapEvent event);
  /// @return whether no pass is under way.
  [[nodiscard]] bool idle() const noexcept { return next_event_ == 0 && state_.idle(); }
  void reset() noexcept;

 private:
  std::vector<OverlapPoint> schedule_;
  std::function<void(SharedExpertStage)> run_;
  SharedExpertState state_;
  int next_event_ = 0;
};

}  // namespace switchyard
