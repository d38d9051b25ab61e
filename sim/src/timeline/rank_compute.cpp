// SPDX-License-Identifier: Apache-2.0
#include "timeline/rank_compute.hpp"

#include <algorithm>
#include <limits>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {
namespace {

/// However many exchanges overlap, some SMs are left for work.
constexpr double kLeastSpeed = 0.05;

}  // namespace

RankCompute::RankCompute(int ranks) : gpus_(to_size(ranks)) {}

double RankCompute::slowdown(Gpu const& gpu) {
  double left = 1;
  for (double const share : gpu.shares) left -= share;
  return 1 / std::max(kLeastSpeed, left);
}

void RankCompute::announce(Gpu const& gpu, Running const& running, RankId rank) {
  ends_.push({running.since_us + running.left_us / speed(running, slowdown(gpu)), running.task, rank, running.version});
}

void RankCompute::start(TaskId task, RankId rank, double work_us, double sm_bound, double now_us) {
  Gpu& gpu = gpus_[rank.index()];
  gpu.running.push_back({task, work_us, now_us, sm_bound, 0});
  announce(gpu, gpu.running.back(), rank);
}

void RankCompute::take_share(RankId rank, double share, double now_us) {
  if (share == 0) return;
  Gpu& gpu = gpus_[rank.index()];
  double const before = slowdown(gpu);
  // Shares are kept one by one: adding and subtracting would leave rounding behind.
  if (share > 0) {
    gpu.shares.push_back(share);
  } else {
    gpu.shares.erase(std::find(gpu.shares.begin(), gpu.shares.end(), -share));
  }
  for (Running& running : gpu.running) {
    running.left_us = std::max(0.0, running.left_us - (now_us - running.since_us) * speed(running, before));
    running.since_us = now_us;
    ++running.version;
    announce(gpu, running, rank);
  }
}

bool RankCompute::is_current(End const& end) const {
  auto const& running = gpus_[end.rank.index()].running;
  return std::any_of(running.begin(), running.end(),
                     [&](Running const& one) { return one.task == end.task && one.version == end.version; });
}

void RankCompute::drop_stale() {
  while (!ends_.empty() && !is_current(ends_.top())) ends_.pop();
}

double RankCompute::next_us() {
  drop_stale();
  return ends_.empty() ? std::numeric_limits<double>::infinity() : ends_.top().us;
}

std::vector<TaskId> RankCompute::finish_until(double now_us) {
  std::vector<TaskId> finished;
  while (next_us() <= now_us) {
    End const end = ends_.top();
    ends_.pop();
    auto& running = gpus_[end.rank.index()].running;
    running.erase(
        std::find_if(running.begin(), running.end(), [&](Running const& one) { return one.task == end.task; }));
    finished.push_back(end.task);
  }
  return finished;
}

}  // namespace switchyard::sim
