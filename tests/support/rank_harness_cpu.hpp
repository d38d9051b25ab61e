// SPDX-License-Identifier: Apache-2.0
/// The harnesses of the CPU backend: threads, and fibers in the order of a seed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "support/rank_harness.hpp"
#include "switchyard/cpu/rank_group.hpp"

namespace switchyard::test {

class CpuHarness final : public RankHarness {
 public:
  CpuHarness(std::string name, std::unique_ptr<cpu::Scheduler> scheduler, bool virtual_time)
      : name_(std::move(name)), scheduler_(std::move(scheduler)), virtual_time_(virtual_time) {}

  [[nodiscard]] std::string name() const override { return name_; }

  std::vector<RankEnd> run(int num_ranks, CheckLevel check, std::function<void(Communicator&)> const& body) override {
    cpu::GroupOptions options;
    options.check = check;
    std::vector<RankEnd> ends;
    for (cpu::RankOutcome const& outcome : cpu::run_ranks_collect(*scheduler_, num_ranks, options, body))
      ends.push_back({outcome.failed, outcome.code, outcome.text});
    return ends;
  }

  void update(std::function<void()> const& change) override {
    scheduler_->lock();
    change();
    scheduler_->notify_all();
    scheduler_->unlock();
  }
  void wait_for(std::function<bool()> const& condition) override {
    scheduler_->lock();
    scheduler_->wait_until(kNever, condition);
    scheduler_->unlock();
  }
  /// Real threads do not wait at all, so that no test depends on real time.
  [[nodiscard]] Duration short_deadline() const override {
    return virtual_time_ ? Duration(std::chrono::hours(24)) : Duration::zero();
  }
  [[nodiscard]] bool virtual_time() const override { return virtual_time_; }
  [[nodiscard]] cpu::Scheduler& scheduler() { return *scheduler_; }

 private:
  std::string name_;
  std::unique_ptr<cpu::Scheduler> scheduler_;
  bool virtual_time_;
};

inline std::unique_ptr<CpuHarness> make_thread_harness() {
  return std::make_unique<CpuHarness>("threads", cpu::make_thread_scheduler(), false);
}
inline std::unique_ptr<CpuHarness> make_fiber_harness(std::uint64_t seed) {
  return std::make_unique<CpuHarness>("cooperative, seed " + std::to_string(seed),
                                      cpu::make_cooperative_scheduler(seed), true);
}

/// Threads, the bulk-synchronous order and a few seeded ones.
inline std::vector<std::unique_ptr<CpuHarness>> all_cpu_harnesses() {
  std::vector<std::unique_ptr<CpuHarness>> harnesses;
  harnesses.push_back(make_thread_harness());
  for (std::uint64_t seed : {0u, 1u, 2u, 77u}) harnesses.push_back(make_fiber_harness(seed));
  return harnesses;
}

}  // namespace switchyard::test
