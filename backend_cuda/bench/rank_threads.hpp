// SPDX-License-Identifier: Apache-2.0
/// run_rank_threads(): a benchmark's ranks as threads of one process, a GPU each; RankClock: what a rank measures with.
#pragma once

#include <functional>
#include <vector>

#include "rank_gate.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace gpu_bench {

class PeerCopies;

/// One rank's group, stream and events. Both communicators speak through one NCCL communicator, one after the other.
struct RankClock {
  static constexpr int kSamples = 30;
  static constexpr int kWarmups = 5;

  switchyard::cuda::NcclCommunicator& checked;  ///< CheckLevel::digest
  switchyard::cuda::NcclCommunicator& bare;     ///< CheckLevel::off
  switchyard::cuda::Stream stream{};
  switchyard::cuda::Event begin{switchyard::cuda::EventTiming::on};
  switchyard::cuda::Event end{switchyard::cuda::EventTiming::on};
  RankGate gate{checked};

  /// By events around work that starts behind a barrier. Collective.
  /// @return microseconds of one call, as the mean of `burst` calls in a row: ranks start microseconds apart
  [[nodiscard]] std::vector<double> sample(std::function<void()> const& work, int burst = 1, int samples = kSamples);
  /// By events around one call whose launches wait on every device until all have been issued and all ranks go on: what
  /// neither hosts nor how far apart they are can add to. Collective. @return none where devices do not reach each
  /// other
  [[nodiscard]] std::vector<double> sample_together(std::function<void()> const& work);
  /// The same for copies of messages by the devices themselves. Landing memory may be freed afterwards.
  [[nodiscard]] std::vector<double> sample_copies(PeerCopies& copies, int burst, int samples = kSamples);
};

/// @param body called per rank on a thread of its own, with its device current. @throws Error{cuda} with what every
/// rank threw, after all have ended
void run_rank_threads(int ranks, std::function<void(RankClock&)> const& body);

}  // namespace gpu_bench
