// SPDX-License-Identifier: Apache-2.0
/// RankBench: a rank's clock and the board on which ranks' samples meet; what benchmarks of dispatch share.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "bench_json.hpp"
#include "rank_threads.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace gpu_bench {

inline constexpr std::int64_t kHidden = 7168;
inline constexpr std::int64_t kRowBytes = kHidden * 2;  ///< bf16
inline constexpr int kTopK = 8;
inline constexpr int kExperts = 256;
inline constexpr int kBurst = 20;  ///< calls in a row of a sample that stands for one

using Fields = std::vector<std::pair<std::string, double>>;

/// Samples, floors and bytes of all ranks, merged by maximum; the last rank to hand in reports.
class Board {
 public:
  Board(Results& results, int ranks) : results_(results), ranks_(ranks) {}
  void hand_in(Results::Record const& of_rank);
  void hand_in(std::string const& name, Fields const& fields, double bytes, std::vector<double> const& samples,
               double floor_us = 0, double bus_factor = 0) {
    hand_in({name, fields, bytes, bus_factor, floor_us, samples});
  }

 private:
  Results& results_;
  int ranks_;
  std::mutex mutex_{};
  int handed_in_ = 0;
  Results::Record merged_{};
};

struct RankBench {
  Board& board;
  RankClock& clock;
  switchyard::cuda::NcclCommunicator& checked = clock.checked;
  switchyard::cuda::NcclCommunicator& bare = clock.bare;
  switchyard::cuda::Stream& stream = clock.stream;

  [[nodiscard]] std::vector<double> sample(std::function<void()> const& work, int burst = 1) const {
    return clock.sample(work, burst);
  }
  /// Calls one by one as hosts issue them, and once more as devices begin them together.
  void hand_in_single(std::string const& name, Fields const& fields, double bytes,
                      std::function<void()> const& work) const {
    board.hand_in(name, fields, bytes, sample(work));
    if (clock.gate.is_there()) board.hand_in(name + " together", fields, bytes, clock.sample_together(work));
  }
};

/// @return the plan's exchange, or one of own rows only where a single rank needs none.
[[nodiscard]] switchyard::RowExchange exchange_of(switchyard::DispatchPlan const& plan);

/// What an exchange takes: one message per peer, own rows left out.
struct Wire {
  double bytes = 0;               ///< that this rank sends
  std::vector<double> nccl_us{};  ///< by bare ncclSend and ncclRecv
  double copies_us = 0;           ///< by peer copies, all ranks at a time: the floor; median
};
/// Collective.
[[nodiscard]] Wire measure_wire(RankBench& bench, switchyard::RowExchange const& exchange);

/// The stages of one Flex or AlltoAll plan one by one, each with a launcher of its own: what an executor that fuses
/// nothing would add up to. Kernels stand beside device copies of the same bytes, the exchange beside peer copies.
/// Collective. @param routing what the plan was made of @param wire of the plan's exchange
void bench_stages(RankBench& bench, switchyard::DispatchPlan const& plan, switchyard::RoutingMap const& routing,
                  switchyard::ExpertPlacement const& placement, Wire const& wire);

}  // namespace gpu_bench
