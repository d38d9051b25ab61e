// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "switchyard/cpu/scheduler.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {
namespace {

/// Holds all threads back until every one exists, so that a group never runs with ranks missing.
class StartGate {
 public:
  void open(bool run) {
    std::lock_guard const lock(mutex_);
    open_ = true;
    run_ = run;
    opened_.notify_all();
  }
  bool pass() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return open_; });
    return run_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
  bool run_ = false;
};

class ThreadScheduler final : public Scheduler {
 public:
  void run(int num_ranks, std::function<void(RankId)> const& body) override {
    SWITCHYARD_REQUIRE(num_ranks >= 1, invalid_argument, "cannot run {} ranks: a group has at least 1", num_ranks);
    std::vector<std::exception_ptr> escaped(static_cast<std::size_t>(num_ranks));
    start_and_join(num_ranks, [&](RankId rank) {
      hd::FloatEnvGuard const float_env;
      try {
        body(rank);
      } catch (...) {
        escaped[rank.index()] = std::current_exception();
      }
    });
    auto const first = std::find_if(escaped.begin(), escaped.end(), [](auto const& e) { return e != nullptr; });
    if (first != escaped.end()) std::rethrow_exception(*first);
  }

  void lock() override { mutex_.lock(); }
  void unlock() override { mutex_.unlock(); }

  bool wait_until(Instant deadline, std::function<bool()> const& ready) override {
    std::unique_lock lock(mutex_, std::adopt_lock);
    bool const held =
        deadline == kNever ? (changed_.wait(lock, ready), true) : changed_.wait_until(lock, to_steady(deadline), ready);
    lock.release();
    return held;
  }

  void notify_all() override { changed_.notify_all(); }

  [[nodiscard]] Instant now() const override {
    return Instant(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
  }

 private:
  static std::chrono::steady_clock::time_point to_steady(Instant instant) {
    return std::chrono::steady_clock::time_point(instant.time_since_epoch());
  }

  static void start_and_join(int num_ranks, std::function<void(RankId)> const& rank_main) {
    StartGate gate;
    std::vector<std::jthread> threads;
    try {
      threads.reserve(static_cast<std::size_t>(num_ranks));
      for (int r = 0; r < num_ranks; ++r)
        threads.emplace_back([&gate, &rank_main, r] {
          if (gate.pass()) rank_main(RankId(r));
        });
    } catch (std::system_error const& error) {
      gate.open(false);
      throw_error(ErrorCode::out_of_memory,
                  fmt::format("could not start thread {} of {}: {}; use the cooperative scheduler for many ranks",
                              threads.size(), num_ranks, error.what()));
    } catch (...) {
      gate.open(false);
      throw;
    }
    gate.open(true);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace

std::unique_ptr<Scheduler> make_thread_scheduler() {
  return std::make_unique<ThreadScheduler>();
}

}  // namespace switchyard::cpu
