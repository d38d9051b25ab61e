// SPDX-License-Identifier: Apache-2.0
/// RankCompute: the work that runs on every rank's GPU, and how exchanges beside it slow it down.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

#include "switchyard/sim/task_graph.hpp"

namespace switchyard::sim {

class RankCompute {
 public:
  explicit RankCompute(int ranks);

  /// @param sm_bound as Task::sm_bound.
  void start(TaskId task, RankId rank, double work_us, double sm_bound, double now_us);
  /// From `now_us` on an exchange takes `share` more of the rank's SMs, or gives it back when negative.
  void take_share(RankId rank, double share, double now_us);
  /// @return when the next work ends; infinity when none runs.
  [[nodiscard]] double next_us();
  /// @return work that ends up to `now_us`, by time, then number.
  [[nodiscard]] std::vector<TaskId> finish_until(double now_us);

 private:
  struct Running {
    TaskId task{};
    double left_us = 0;  ///< on the whole GPU, at `since_us`
    double since_us = 0;
    double sm_bound = 1;
    std::uint32_t version = 0;
  };
  struct Gpu {
    std::vector<double> shares{};  ///< of the exchanges under way
    std::vector<Running> running{};
  };
  struct End {
    double us = 0;
    TaskId task{};
    RankId rank{};
    std::uint32_t version = 0;
  };
  struct Later {
    bool operator()(End const& a, End const& b) const { return a.us != b.us ? a.us > b.us : a.task > b.task; }
  };
  /// How many times longer work takes that waits for SMs alone.
  [[nodiscard]] static double slowdown(Gpu const& gpu);
  [[nodiscard]] static double speed(Running const& running, double slowdown) {
    return 1 / (1 + running.sm_bound * (slowdown - 1));
  }
  void announce(Gpu const& gpu, Running const& running, RankId rank);
  /// Drops announcements that a change of speed has overtaken.
  void drop_stale();
  [[nodiscard]] bool is_current(End const& end) const;

  std::vector<Gpu> gpus_;
  std::priority_queue<End, std::vector<End>, Later> ends_;
};

}  // namespace switchyard::sim
