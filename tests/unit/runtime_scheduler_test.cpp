// SPDX-License-Identifier: Apache-2.0
/// Schedulers: waits, virtual time, deadlock, seeds, float environment, exceptions, many ranks.
///
/// Worked example (cooperative, seed 0): rank 0 waits until t=5 s, rank 1 until t=3 s, both for something that never
/// happens. Nothing is runnable, so time jumps to 3 s and rank 1 goes on, then to 5 s for rank 0. No real time passes.
#include <doctest/doctest.h>

#include <atomic>
#include <cfenv>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/cpu/rank_group.hpp"

namespace switchyard::cpu {
namespace {

constexpr Duration kSecond = std::chrono::seconds(1);

bool pass_time(Scheduler& scheduler, Duration length) {
  scheduler.lock();
  bool const ready = scheduler.wait_until(deadline_after(scheduler.now(), length), [] { return false; });
  scheduler.unlock();
  return ready;
}

/// The order in which ranks go through `rounds` waits.
std::string interleaving(std::uint64_t seed, int ranks, int rounds) {
  auto const scheduler = make_cooperative_scheduler(seed);
  std::string order;
  scheduler->run(ranks, [&](RankId rank) {
    for (int round = 0; round < rounds; ++round) {
      order += static_cast<char>('a' + rank.value());
      scheduler->lock();
      scheduler->wait_until(kNever, [] { return true; });
      scheduler->unlock();
    }
  });
  return order;
}

TEST_CASE("deadlines saturate") {
  CHECK(deadline_after(Instant(kSecond), kSecond) == Instant(2 * kSecond));
  CHECK(deadline_after(Instant(kSecond), -kSecond) == Instant(kSecond));
  CHECK(deadline_after(Instant(kSecond), Duration::max()) == kNever);
  CHECK(deadline_after(kNever, kSecond) == kNever);
}

TEST_CASE("both schedulers run every rank once and refuse an empty group") {
  for (auto* make : {+[] { return make_thread_scheduler(); }, +[] { return make_cooperative_scheduler(0); },
                     +[] { return make_cooperative_scheduler(9); }}) {
    auto const scheduler = make();
    for (int ranks : {1, 2, 7}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(ranks));
      scheduler->run(ranks, [&](RankId rank) { ++runs[rank.index()]; });
      for (auto const& count : runs) CHECK(count.load() == 1);
    }
    CHECK_THROWS_AS(scheduler->run(0, [](RankId) {}), Error);
  }
}

TEST_CASE("virtual time jumps from deadline to deadline") {
  for (std::uint64_t seed : {0u, 3u}) {
    auto const scheduler = make_cooperative_scheduler(seed);
    std::vector<std::pair<int, Instant>> woken;
    scheduler->run(3, [&](RankId rank) {
      Duration const length = rank.value() == 0 ? 5 * kSecond : 3 * kSecond * (rank.value() + 1) / 2;
      CHECK(!pass_time(*scheduler, length));
      woken.emplace_back(rank.value(), scheduler->now());
    });
    std::vector<std::pair<int, Instant>> const expected{
        {1, Instant(3 * kSecond)}, {2, Instant(4500 * kSecond / 1000)}, {0, Instant(5 * kSecond)}};
    CHECK(woken == expected);
  }
}

TEST_CASE("10,000 virtual hours pass at once, and a met condition beats an expired deadline") {
  auto const scheduler = make_cooperative_scheduler(0);
  bool flag = false;
  scheduler->run(2, [&](RankId rank) {
    if (rank.value() == 0) {
      for (int hour = 0; hour < 10000; ++hour) pass_time(*scheduler, std::chrono::hours(1));
      scheduler->lock();
      flag = true;
      scheduler->notify_all();
      scheduler->unlock();
    } else {
      scheduler->lock();
      CHECK(scheduler->wait_until(Instant(std::chrono::hours(10000)), [&] { return flag; }));
      scheduler->unlock();
    }
  });
  CHECK(scheduler->now() == Instant(std::chrono::hours(10000)));
}

TEST_CASE("a deadlock is an error on every rank, also with a seed") {
  for (std::uint64_t seed : {0u, 4u}) {
    auto const scheduler = make_cooperative_scheduler(seed);
    std::vector<std::string> texts(3);
    scheduler->run(3, [&](RankId rank) {
      scheduler->lock();
      try {
        scheduler->wait_until(kNever, [] { return false; });
      } catch (Error const& error) {
        texts[rank.index()] = error.what();
      }
      scheduler->unlock();
    });
    for (std::string const& text : texts) CHECK(text.find("timeout: deadlock: all") == 0);
  }
}

TEST_CASE("one seed is one interleaving; seed 0 is rank order; seeds differ") {
  CHECK(interleaving(0, 4, 2) == "aabbccdd");
  std::set<std::string> orders;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    std::string const order = interleaving(seed, 4, 3);
    CHECK(order == interleaving(seed, 4, 3));
    orders.insert(order);
  }
  CHECK(orders.size() > 40);
}

TEST_CASE("waiting outside a run and running twice at once are refused") {
  auto const scheduler = make_cooperative_scheduler(0);
  CHECK_THROWS_AS(scheduler->wait_until(kNever, [] { return true; }), Error);
  scheduler->run(1, [&](RankId) { CHECK_THROWS_AS(scheduler->run(1, [](RankId) {}), Error); });
}

TEST_CASE("an escaping exception is rethrown when all ranks have ended, lowest rank first") {
  for (auto* make : {+[] { return make_thread_scheduler(); }, +[] { return make_cooperative_scheduler(5); }}) {
    auto const scheduler = make();
    std::atomic<int> ended{0};
    std::string text;
    try {
      scheduler->run(5, [&](RankId rank) {
        ++ended;
        if (rank.value() >= 2) throw std::runtime_error("rank " + std::to_string(rank.value()));
      });
    } catch (std::runtime_error const& error) {
      text = error.what();
    }
    CHECK(text == "rank 2");
    CHECK(ended.load() == 5);
  }
}

TEST_CASE("a fiber may wait inside a catch block while others throw") {
  for (std::uint64_t seed : {0u, 1u, 2u, 3u}) {
    auto const scheduler = make_cooperative_scheduler(seed);
    std::vector<std::string> rethrown(4);
    scheduler->run(4, [&](RankId rank) {
      std::string const own = "own " + std::to_string(rank.value());
      try {
        try {
          throw std::runtime_error(own);
        } catch (std::runtime_error const&) {
          for (int i = 0; i < 5; ++i) pass_time(*scheduler, kSecond * (1 + (rank.value() * 3 + i) % 4));
          throw;  // must still be this rank's exception
        }
      } catch (std::runtime_error const& error) {
        rethrown[rank.index()] = error.what();
      }
      CHECK(std::uncaught_exceptions() == 0);
    });
    for (std::size_t r = 0; r < rethrown.size(); ++r) CHECK(rethrown[r] == "own " + std::to_string(r));
  }
}

/// Half of the smallest normal number: zero when subnormals are flushed.
bool subnormals_survive() {
  float volatile smallest = std::numeric_limits<float>::min();
  float const volatile half = smallest * 0.5f;
  return half != 0.0f;
}

TEST_CASE("ranks and workers run in the contract's float environment and the caller's comes back") {
  std::fesetround(FE_UPWARD);
  int wrong = 0;
  auto const look = [&wrong] {
    if (std::fegetround() != FE_TONEAREST || !subnormals_survive()) ++wrong;
  };
  for (std::uint64_t seed : {0u, 2u}) {
    auto const scheduler = make_cooperative_scheduler(seed);
    scheduler->run(3, [&](RankId) {
      look();
      std::fesetround(FE_DOWNWARD);  // one rank's slip must not reach the next one
      pass_time(*scheduler, kSecond);
      if (std::fegetround() != FE_DOWNWARD) ++wrong;
    });
  }
  make_thread_scheduler()->run(1, [&](RankId) { look(); });
  parallel_for(1, 1, [&](std::int64_t, std::int64_t) { look(); });
  CHECK(std::fegetround() == FE_UPWARD);
  std::fesetround(FE_TONEAREST);
  CHECK(wrong == 0);
}

TEST_CASE("parallel_for works inside a rank of either scheduler and covers its range once") {
  for (int workers : {1, 2, 7}) {
    set_worker_count(workers);
    for (auto* make : {+[] { return make_thread_scheduler(); }, +[] { return make_cooperative_scheduler(1); }}) {
      run_ranks(*make(), 3, {}, [](Communicator& comm) {
        std::vector<int> hits(1000, 0);
        parallel_for(1000, 64, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
        });
        comm.barrier();
        for (int hit : hits)
          if (hit != 1) throw std::logic_error("an item was visited " + std::to_string(hit) + " times");
      });
    }
  }
  set_worker_count(0);
}

TEST_CASE("1,500 ranks meet on one thread") {
  constexpr int kRanks = 1500;
  auto const scheduler = make_cooperative_scheduler(11);
  run_ranks(*scheduler, kRanks, {}, [](Communicator& comm) {
    std::vector<std::int64_t> const mine{comm.rank().value()};
    auto const all = all_gather_i64(comm, mine);
    for (int r = 0; r < kRanks; ++r)
      if (all[static_cast<std::size_t>(r)] != r) throw std::logic_error("rank " + std::to_string(r));
    comm.barrier();
  });
}

TEST_CASE("abort from a thread that is no rank wakes the ranks") {
  auto const scheduler = make_thread_scheduler();
  InProcessGroup group(*scheduler, 3, {});
  std::vector<std::string> texts(3);
  std::atomic<bool> done{false};
  scheduler->run(3, [&](RankId rank) {
    std::jthread outsider;
    if (rank.value() == 2) outsider = std::jthread([&] { group.communicator(RankId(0)).abort("shutting down"); });
    try {
      for (;;) group.communicator(rank).barrier();
    } catch (Error const& error) {
      texts[rank.index()] = error.what();
    }
  });
  for (std::string const& text : texts) CHECK(text == "aborted: rank 0 called abort: shutting down");
  CHECK(!done.load());
}

TEST_CASE("run_ranks rethrows the root cause with its type, not the aborts it led to") {
  struct Special : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  auto const scheduler = make_cooperative_scheduler(1);
  CHECK_THROWS_AS(run_ranks(*scheduler, 4, {},
                            [](Communicator& comm) {
                              if (comm.rank().value() == 2) throw Special("boom");
                              comm.barrier();
                            }),
                  Special);
  CHECK_THROWS_AS(run_ranks(*scheduler, 2, {}, [](Communicator& comm) { comm.abort("enough"), comm.barrier(); }),
                  Error);
  CHECK_THROWS_AS(run_ranks(*scheduler, 0, {}, [](Communicator&) {}), Error);
}

}  // namespace
}  // namespace switchyard::cpu
