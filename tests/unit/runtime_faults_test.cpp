// SPDX-License-Identifier: Apache-2.0
/// Faults between post and delivery: flipped bits, swapped and lost messages, delays, ranks that die inside a call.
///
/// With CheckLevel::full each of them ends in the same error on every rank, or, for a delay within the deadline, in the
/// right bytes. All in virtual time.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "conformance/ragged_calls.hpp"
#include "support/rank_harness_cpu.hpp"
#include "switchyard/cpu/internal/fault_hook.hpp"

namespace switchyard::test {
namespace {

constexpr int kCalls = 5;

std::vector<RankEnd> run_program(cpu::Scheduler& scheduler, int ranks, cpu::FaultHook& faults,
                                 Duration deadline = std::chrono::seconds(60)) {
  cpu::GroupOptions options;
  options.check = CheckLevel::full;
  options.default_deadline = deadline;
  auto const outcomes = cpu::run_ranks_with_faults(scheduler, ranks, options, &faults, [](Communicator& comm) {
    for (int call = 0; call < kCalls; ++call) exchange_ragged(comm, {call}, {.operation = "rows"});
  });
  std::vector<RankEnd> ends;
  for (auto const& outcome : outcomes) ends.push_back({outcome.failed, outcome.code, outcome.text});
  return ends;
}

/// Damages one chosen message of the whole program; counts whether there was anything to damage.
class Damage : public cpu::FaultHook {
 public:
  enum class Kind { flip_bit, lose, swap, duplicate };
  Damage(Kind kind, std::uint32_t seed, int ranks) : kind_(kind), seed_(seed), ranks_(ranks) {}

  void after_copy(RankId receiver, RankId sender, std::int64_t sequence,
                  std::span<std::span<std::byte> const> messages) override {
    auto const pick = [&](std::uint32_t salt, std::size_t bound) {
      return static_cast<std::int64_t>(scramble(seed_, salt, 5u) % bound);
    };
    if (sequence != pick(1, kCalls) || sender.value() != pick(2, static_cast<std::size_t>(ranks_)) ||
        receiver.value() != pick(3, static_cast<std::size_t>(ranks_)) || messages.empty())
      return;
    auto const first = messages[static_cast<std::size_t>(pick(4, messages.size()))];
    auto const second = messages[static_cast<std::size_t>(pick(5, messages.size()))];
    hit = damage(first, second);
  }

  bool hit = false;

 private:
  bool damage(std::span<std::byte> first, std::span<std::byte> second) {
    std::vector<std::byte> const before(first.begin(), first.end());
    if (first.empty()) return false;
    switch (kind_) {
      case Kind::flip_bit: {
        auto const bit = scramble(seed_, 6u, 6u) % (first.size() * 8);
        first[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
        return true;
      }
      case Kind::lose: std::fill(first.begin(), first.end(), kPoison); break;
      case Kind::swap: {
        auto const common = std::min(first.size(), second.size());
        std::swap_ranges(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(common), second.begin());
        break;
      }
      case Kind::duplicate: std::copy_n(second.begin(), std::min(first.size(), second.size()), first.begin()); break;
    }
    return !std::equal(before.begin(), before.end(), first.begin());
  }

  Kind kind_;
  std::uint32_t seed_;
  int ranks_;
};

void sweep_damage(Damage::Kind kind, std::string const& what) {
  int hits = 0;
  constexpr std::uint32_t kSeeds = 1500;
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    INFO(what, ", seed ", seed);
    int const ranks = 1 + static_cast<int>(seed % 4);
    Damage damage(kind, seed, ranks);
    auto const scheduler = cpu::make_cooperative_scheduler(seed);
    auto const ends = run_program(*scheduler, ranks, damage);
    if (!damage.hit) {
      require_all_ended_well(ends);
      continue;
    }
    ++hits;
    require_contains(require_same_error(ends, ErrorCode::corrupt_data), "was sent with checksum");
  }
  REQUIRE(hits > 100);
  MESSAGE(what, ": ", hits, " of ", hits, " detected, no false alarm in ", static_cast<int>(kSeeds) - hits,
          " undamaged runs");
}

TEST_CASE("a flipped bit is detected on every rank") {
  sweep_damage(Damage::Kind::flip_bit, "flipped bits");
}
TEST_CASE("a lost message is detected on every rank") {
  sweep_damage(Damage::Kind::lose, "lost messages");
}
TEST_CASE("swapped messages are detected on every rank") {
  sweep_damage(Damage::Kind::swap, "swapped messages");
}
TEST_CASE("a duplicated message is detected on every rank") {
  sweep_damage(Damage::Kind::duplicate, "duplicates");
}

/// Delays every step of every rank by a drawn virtual time.
class Delay : public cpu::FaultHook {
 public:
  Delay(cpu::Scheduler& scheduler, std::uint32_t seed, std::uint32_t max_ms)
      : scheduler_(scheduler), seed_(seed), max_ms_(max_ms) {}
  void before_post(RankId, std::int64_t) override { wait(); }
  void after_copy(RankId, RankId, std::int64_t, std::span<std::span<std::byte> const>) override { wait(); }

 private:
  void wait() {
    Duration const length =
        std::chrono::milliseconds(static_cast<std::int64_t>(scramble(seed_, ++draws_, 9u) % max_ms_));
    scheduler_.lock();
    scheduler_.wait_until(deadline_after(scheduler_.now(), length), [] { return false; });
    scheduler_.unlock();
  }
  cpu::Scheduler& scheduler_;
  std::uint32_t seed_;
  std::uint32_t max_ms_;
  std::uint32_t draws_ = 0;
};

TEST_CASE("delays within the deadline change nothing") {
  for (std::uint32_t seed = 1; seed <= 300; ++seed) {
    INFO("seed ", seed);
    auto const scheduler = cpu::make_cooperative_scheduler(seed);
    Delay delay(*scheduler, seed, 1000);
    require_all_ended_well(run_program(*scheduler, 1 + static_cast<int>(seed % 5), delay));
  }
}

TEST_CASE("delays around the deadline either work on all ranks or time out on all ranks") {
  int timeouts = 0;
  constexpr std::uint32_t kSeeds = 600;
  for (std::uint32_t seed = 1; seed <= kSeeds; ++seed) {
    INFO("seed ", seed);
    auto const scheduler = cpu::make_cooperative_scheduler(seed);
    Delay delay(*scheduler, seed, 1000);
    auto const ends = run_program(*scheduler, 3, delay, std::chrono::milliseconds(3000));
    if (std::none_of(ends.begin(), ends.end(), [](RankEnd const& end) { return end.failed; })) continue;
    ++timeouts;
    require_contains(require_same_error(ends, ErrorCode::timeout), "took longer than the deadline of 3.000 s");
  }
  CHECK(timeouts > 50);
  CHECK(timeouts < static_cast<int>(kSeeds));
}

/// One rank waits for an hour while it copies.
class SlowCopier : public cpu::FaultHook {
 public:
  explicit SlowCopier(cpu::Scheduler& scheduler) : scheduler_(scheduler) {}
  void after_copy(RankId receiver, RankId sender, std::int64_t sequence,
                  std::span<std::span<std::byte> const>) override {
    if (receiver.value() != 1 || sender.value() != 0 || sequence != 2) return;
    scheduler_.lock();
    scheduler_.wait_until(deadline_after(scheduler_.now(), std::chrono::hours(1)), [] { return false; });
    scheduler_.unlock();
    copied_until = scheduler_.now();
  }
  Instant copied_until{};

 private:
  cpu::Scheduler& scheduler_;
};

TEST_CASE("a slow copier is named, and nobody leaves while it still reads") {
  for (std::uint64_t seed : {0u, 1u, 2u}) {
    auto const scheduler = cpu::make_cooperative_scheduler(seed);
    SlowCopier slow(*scheduler);
    std::vector<Instant> left(3);
    auto const outcomes = cpu::run_ranks_with_faults(*scheduler, 3, {}, &slow, [&](Communicator& comm) {
      try {
        for (int call = 0; call < kCalls; ++call) exchange_ragged(comm, {call}, {.operation = "rows"});
      } catch (Error const&) {
        left[comm.rank().index()] = scheduler->now();  // from here on its buffers are gone
        throw;
      }
    });
    for (std::size_t r = 0; r < left.size(); ++r) {
      require_contains(outcomes[r].text,
                       "timeout: exchange #2 \"rows\": copying the messages took longer than the "
                       "deadline of 60.000 s: finished: ranks 0, 2; not finished: rank 1;");
      CHECK(left[r] >= slow.copied_until);
    }
    CHECK(slow.copied_until >= Instant(std::chrono::hours(1)));
  }
}

/// A rank dies at its n-th hook call.
class Death : public cpu::FaultHook {
 public:
  Death(int rank, int step) : rank_(rank), step_(step) {}
  void before_post(RankId rank, std::int64_t) override { count(rank); }
  void after_copy(RankId rank, RankId, std::int64_t, std::span<std::span<std::byte> const>) override { count(rank); }
  bool happened = false;

 private:
  void count(RankId rank) {
    if (rank.value() != rank_ || step_-- != 0) return;
    happened = true;
    throw std::runtime_error("killed");
  }
  int rank_;
  int step_;
};

TEST_CASE("a rank that dies at any step inside a call takes the group down with one text") {
  for (int ranks : {1, 2, 3, 4}) {
    for (int victim = 0; victim < ranks; ++victim) {
      for (int step = 0;; ++step) {
        INFO(ranks, " ranks, rank ", victim, " dies at step ", step);
        auto const scheduler = cpu::make_cooperative_scheduler(static_cast<std::uint64_t>(step));
        Death death(victim, step);
        auto const ends = run_program(*scheduler, ranks, death);
        if (!death.happened) {
          require_all_ended_well(ends);
          REQUIRE(step == kCalls * (ranks + 1));
          break;
        }
        REQUIRE(ends[static_cast<std::size_t>(victim)].failed);
        require_contains(ends[static_cast<std::size_t>(victim)].text, "killed");
        if (ranks > 1)
          require_contains(require_same_error(ends, ErrorCode::aborted, victim), std::to_string(victim) + " failed");
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::test
