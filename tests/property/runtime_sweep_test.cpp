// SPDX-License-Identifier: Apache-2.0
/// Random programs of collectives: the same bytes in every interleaving, and one error text for every random mistake.
///
/// A program is a seed: its calls, sizes and payloads follow from it (see ragged_calls.hpp), so every rank checks each
/// byte it receives on its own. Thousands of interleavings per run; a failure prints program, ranks and order.
#include <doctest/doctest.h>

#include <atomic>
#include <vector>

#include "conformance/ragged_calls.hpp"
#include "support/rank_harness_cpu.hpp"

namespace switchyard::test {
namespace {

constexpr int kRankCounts[] = {1, 2, 3, 5, 8};

void run_random_program(Communicator& comm, std::uint32_t program) {
  for (int call = 0; call < 10; ++call) mixed_call(comm, static_cast<int>(program % 100000) * 16 + call);
}

TEST_CASE("random programs move the same bytes under threads and under 4,000 seeded orders") {
  for (std::uint32_t program = 0; program < 4000; ++program) {
    int const ranks = kRankCounts[program % 5];
    INFO("program ", program, ", ", ranks, " ranks, scheduler seed ", program);
    auto const body = [&](Communicator& comm) { run_random_program(comm, program); };
    require_all_ended_well(make_fiber_harness(program)->run(ranks, CheckLevel::digest, body));
    if (program % 20 == 0) require_all_ended_well(make_thread_harness()->run(ranks, CheckLevel::full, body));
  }
}

/// One rank's mistake in one call of a program.
struct Mistake {
  enum Kind { count, configuration, text, kind_of_call, skip } kind;
  int rank;
  int peer;
  int call;
};

Mistake draw_mistake(std::uint32_t seed, int ranks) {
  auto const pick = [&](std::uint32_t salt, std::uint32_t bound) {
    return static_cast<int>(scramble(seed, salt, 11u) % bound);
  };
  auto const n = static_cast<std::uint32_t>(ranks);
  return {static_cast<Mistake::Kind>(pick(1, 5)), pick(2, n), pick(3, n), pick(4, 4)};
}

/// Four all_to_all_v calls; the guilty rank errs in one of them.
void run_with_mistake(Communicator& comm, std::uint32_t seed, Mistake const& mistake) {
  for (int call = 0; call < 4; ++call) {
    bool const guilty = comm.rank().value() == mistake.rank && call == mistake.call;
    CallOptions options{.operation = "step", .configuration = 3};
    CountTweak tweak;
    if (guilty && mistake.kind == Mistake::skip) continue;
    if (guilty && mistake.kind == Mistake::configuration) options.configuration = 4;
    if (guilty && mistake.kind == Mistake::text) options.operation = "stop";
    if (guilty && mistake.kind == Mistake::kind_of_call) {
      comm.barrier(options);
      continue;
    }
    if (guilty && mistake.kind == Mistake::count)
      tweak = [&](bool is_send, int peer) -> std::int64_t {
        return peer == mistake.peer && is_send == (seed % 2 == 0) ? 1 + static_cast<int>(seed % 7) : 0;
      };
    all_to_all_ragged(comm, {static_cast<int>(seed % 1000) * 4 + call}, options, tweak);
  }
}

TEST_CASE("20,000 random mistakes: all detected, one text per group, nothing hangs") {
  constexpr std::uint32_t kMistakes = 20000;
  int detected = 0;
  for (std::uint32_t seed = 0; seed < kMistakes; ++seed) {
    int const ranks = 2 + static_cast<int>(seed % 4);
    Mistake const mistake = draw_mistake(seed, ranks);
    INFO("seed ", seed, ", ", ranks, " ranks, mistake ", static_cast<int>(mistake.kind), " of rank ", mistake.rank,
         " in call ", mistake.call);
    auto const ends = make_fiber_harness(seed)->run(ranks, CheckLevel::digest,
                                                    [&](Communicator& comm) { run_with_mistake(comm, seed, mistake); });
    if (mistake.kind == Mistake::skip) {
      // The guilty rank runs ahead of the others by one call: sizes disagree, or it ends while they wait.
      for (RankEnd const& end : ends) {
        bool const guilty = &end == &ends[static_cast<std::size_t>(mistake.rank)];
        REQUIRE((end.failed || guilty));
      }
    } else {
      auto const code = mistake.kind == Mistake::count ? ErrorCode::split_mismatch : ErrorCode::desync;
      require_same_error(ends, code);
    }
    ++detected;
  }
  MESSAGE(detected, " of ", kMistakes, " mistakes detected");
}

}  // namespace
}  // namespace switchyard::test
