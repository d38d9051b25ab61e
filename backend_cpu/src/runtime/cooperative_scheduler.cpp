// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <exception>
#include <memory>
#include <vector>

#include "fiber.hpp"
#include "switchyard/cpu/scheduler.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace switchyard::cpu {
namespace {

/// One rank's fiber and, while it waits, what it waits for.
struct RankFiber {
  std::unique_ptr<Fiber> fiber;
  std::function<bool()> const* ready = nullptr;  // null = the rank does not wait
  Instant deadline = kNever;
  bool runnable = false;  // queued for another look
  bool give_up = false;   // the wait ends whatever its condition says: a deadlock was found
  bool result = false;    // what ready() said when the wait ended
  std::exception_ptr escaped{};
};

class CooperativeScheduler final : public Scheduler {
 public:
  explicit CooperativeScheduler(std::uint64_t seed) : seed_(seed), draws_(seed) {}

  void run(int num_ranks, std::function<void(RankId)> const& body) override;
  void lock() override {}
  void unlock() override {}
  bool wait_until(Instant deadline, std::function<bool()> const& ready) override;
  void notify_all() override;
  [[nodiscard]] Instant now() const override { return now_; }

 private:
  void create_fibers(int num_ranks, std::function<void(RankId)> const& body);
  void make_runnable(std::size_t rank);
  std::size_t take_next();
  void step(std::size_t rank);
  void advance_time();
  void rethrow_first();

  std::uint64_t seed_;
  CounterRng draws_;
  std::uint64_t num_draws_ = 0;
  Instant now_{};
  std::vector<RankFiber> ranks_;
  std::vector<std::size_t> runnable_;  // seed 0: a heap with the lowest rank in front
  std::size_t live_ = 0;
  RankFiber* current_ = nullptr;
};

void CooperativeScheduler::run(int num_ranks, std::function<void(RankId)> const& body) {
  SWITCHYARD_REQUIRE(num_ranks >= 1, invalid_argument, "cannot run {} ranks: a group has at least 1", num_ranks);
  SWITCHYARD_REQUIRE(ranks_.empty(), invalid_argument,
                     "a cooperative scheduler runs one group at a time: {} ranks are running; make another scheduler",
                     ranks_.size());
  create_fibers(num_ranks, body);
  while (live_ > 0) {
    if (runnable_.empty())
      advance_time();
    else
      step(take_next());
  }
  rethrow_first();
}

void CooperativeScheduler::create_fibers(int num_ranks, std::function<void(RankId)> const& body) {
  std::vector<RankFiber> ranks(static_cast<std::size_t>(num_ranks));
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    ranks[r].fiber = std::make_unique<Fiber>([this, r, &body] {
      hd::FloatEnvGuard const float_env;  // a switch of stacks keeps the float environment of each
      try {
        body(RankId(static_cast<std::int32_t>(r)));
      } catch (...) {
        ranks_[r].escaped = std::current_exception();
      }
    });
  }
  ranks_ = std::move(ranks);
  live_ = ranks_.size();
  for (std::size_t r = 0; r < ranks_.size(); ++r) make_runnable(r);
}

void CooperativeScheduler::make_runnable(std::size_t rank) {
  ranks_[rank].runnable = true;
  runnable_.push_back(rank);
  if (seed_ == 0) std::push_heap(runnable_.begin(), runnable_.end(), std::greater<>{});
}

std::size_t CooperativeScheduler::take_next() {
  if (seed_ == 0)
    std::pop_heap(runnable_.begin(), runnable_.end(), std::greater<>{});
  else
    std::swap(runnable_[draws_.below(num_draws_++, runnable_.size())], runnable_.back());
  std::size_t const rank = runnable_.back();
  runnable_.pop_back();
  ranks_[rank].runnable = false;
  return rank;
}

/// Lets a rank go on if it may: a waiting rank only when its condition holds or its deadline has passed.
void CooperativeScheduler::step(std::size_t rank) {
  RankFiber& self = ranks_[rank];
  if (self.ready) {
    self.result = (*self.ready)();
    if (!self.result && !self.give_up && now_ < self.deadline) return;
    self.ready = nullptr;
  }
  current_ = &self;
  self.fiber->resume();
  current_ = nullptr;
  if (self.fiber->ended()) --live_;
}

/// Every rank waits: time jumps to the earliest deadline, or without any the waits end in an error.
void CooperativeScheduler::advance_time() {
  Instant earliest = kNever;
  for (RankFiber const& rank : ranks_)
    if (rank.ready) earliest = std::min(earliest, rank.deadline);
  bool const deadlock = earliest == kNever;
  if (!deadlock) now_ = std::max(now_, earliest);
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    if (!ranks_[r].ready || (!deadlock && ranks_[r].deadline > now_)) continue;
    ranks_[r].give_up = deadlock;
    make_runnable(r);
  }
}

bool CooperativeScheduler::wait_until(Instant deadline, std::function<bool()> const& ready) {
  SWITCHYARD_REQUIRE(current_ != nullptr, invalid_argument,
                     "wait_until() outside run(): only a rank of the running group can wait");
  if (seed_ == 0 && ready()) return true;
  RankFiber& self = *current_;
  self.ready = &ready;
  self.deadline = deadline;
  self.give_up = false;
  // With a seed the rank queues up at once: another one may overtake it although its condition holds.
  if (seed_ != 0 || deadline <= now_) make_runnable(static_cast<std::size_t>(&self - ranks_.data()));
  self.fiber->suspend();
  SWITCHYARD_REQUIRE(self.result || !self.give_up, timeout,
                     "deadlock: all {} live ranks wait and none has a deadline; a rank waits for something that no "
                     "other rank will do",
                     live_);
  return self.result;
}

void CooperativeScheduler::notify_all() {
  for (std::size_t r = 0; r < ranks_.size(); ++r)
    if (ranks_[r].ready && !ranks_[r].runnable) make_runnable(r);
}

void CooperativeScheduler::rethrow_first() {
  auto const ranks = std::move(ranks_);
  ranks_.clear();
  for (RankFiber const& rank : ranks)
    if (rank.escaped) std::rethrow_exception(rank.escaped);
}

}  // namespace

std::unique_ptr<Scheduler> make_cooperative_scheduler(std::uint64_t seed) {
  return std::make_unique<CooperativeScheduler>(seed);
}

}  // namespace switchyard::cpu
