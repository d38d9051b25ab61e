// SPDX-License-Identifier: Apache-2.0
/// The conformance suite of Communicator: what every implementation must do, for any harness and number of ranks.
///
/// Worked example, 2 ranks, all_to_all_v with send counts rank 0 = [1, 2], rank 1 = [0, 3]: rank 0 receives 1 byte from
/// itself and none from rank 1; rank 1 receives 2 bytes from rank 0, then 3 from itself. If rank 1 expected 4 bytes
/// from rank 0, both ranks get split_mismatch with "rank 0 sends 2 bytes to rank 1, which expects 4" and no byte moves.
#pragma once

#include <atomic>
#include <stdexcept>
#include <vector>

#include "conformance/ragged_calls.hpp"
#include "support/rank_harness.hpp"

namespace switchyard::test {

// ---- what must work ------------------------------------------------------------------------------------------------

/// No rank leaves a barrier before every rank has entered it.
inline void check_barrier(RankHarness& harness, int ranks, CheckLevel check) {
  std::atomic<int> entered{0};
  require_all_ended_well(harness.run(ranks, check, [&](Communicator& comm) {
    for (int round = 1; round <= 5; ++round) {
      entered.fetch_add(1);
      comm.barrier({.operation = "enter"});
      expect(entered.load() == round * ranks, "a rank left the barrier early");
      comm.barrier({.operation = "leave"});
    }
  }));
}

/// Every kind of call with ragged sizes, zero rows and self messages, and one after the other.
inline void check_data_moves(RankHarness& harness, int ranks, CheckLevel check) {
  require_all_ended_well(harness.run(ranks, check, [&](Communicator& comm) {
    expect(comm.size() == ranks, "size");
    for (int call = 0; call < 4; ++call) {
      all_gather_ragged(comm, {call}, {.operation = "gather"});
      all_to_all_ragged(comm, {call}, {.operation = "all to all"});
      exchange_ragged(comm, {call}, {.operation = "exchange"});
    }
    for (int call = 10; call < 30; ++call) mixed_call(comm, call);
    mixed_call(comm, 31, 4096);  // large messages
  }));
}

/// Nothing to say to anybody is a call like any other.
inline void check_empty_calls(RankHarness& harness, int ranks, CheckLevel check) {
  require_all_ended_well(harness.run(ranks, check, [&](Communicator& comm) {
    std::vector<std::int64_t> const zeros(static_cast<std::size_t>(ranks), 0);
    comm.all_gather_v({}, {}, zeros);
    comm.all_to_all_v({}, zeros, {}, zeros);
    comm.exchange({}, {});
    std::vector<SendMessage> const sends(3, SendMessage{comm.rank(), {}});
    std::vector<ReceiveMessage> const receives(3, ReceiveMessage{comm.rank(), {}});
    comm.exchange(sends, receives);
    expect(all_gather_i64(comm, {}).empty(), "all_gather_i64 of nothing");
    std::vector<std::int64_t> const mine{comm.rank().value(), -1};
    auto const all = all_gather_i64(comm, mine, {.operation = "ids"});
    for (int r = 0; r < ranks; ++r)
      expect(all[static_cast<std::size_t>(2 * r)] == r && all[static_cast<std::size_t>(2 * r + 1)] == -1, "ids");
  }));
}

/// A mistake that a rank sees alone throws there; when all ranks make it, the group goes on.
inline void check_local_mistakes(RankHarness& harness, int ranks, CheckLevel check) {
  require_all_ended_well(harness.run(ranks, check, [&](Communicator& comm) {
    auto const refused = [](ErrorCode code, std::function<void()> const& call) {
      try {
        call();
      } catch (Error const& error) {
        expect(error.code() == code, error.what());
        return;
      }
      throw std::logic_error("a wrong call was accepted");
    };
    std::vector<std::int64_t> const ones(static_cast<std::size_t>(ranks), 1);
    std::vector<std::int64_t> negative = ones;
    negative.front() = -1;
    std::vector<std::byte> buffer(static_cast<std::size_t>(ranks) + 1);
    auto const fitting = std::span(buffer).first(static_cast<std::size_t>(ranks));
    refused(ErrorCode::shape_mismatch, [&] { comm.all_gather_v(fitting.first(1), buffer, ones); });
    refused(ErrorCode::shape_mismatch, [&] { comm.all_gather_v(fitting.first(1), {}, ones); });
    refused(ErrorCode::shape_mismatch, [&] { comm.all_gather_v({}, {}, {}); });
    refused(ErrorCode::shape_mismatch, [&] { comm.all_to_all_v(buffer, ones, fitting, ones); });
    refused(ErrorCode::invalid_argument, [&] { comm.all_to_all_v(fitting, negative, fitting, ones); });
    std::vector<SendMessage> const nobody{{RankId(ranks), {}}};
    std::vector<ReceiveMessage> const minus_one{{RankId(-1), {}}};
    refused(ErrorCode::invalid_argument, [&] { comm.exchange(nobody, {}); });
    refused(ErrorCode::invalid_argument, [&] { comm.exchange({}, minus_one); });
    mixed_call(comm, 5);
    comm.barrier();
  }));
}

// ---- what must be refused, on every rank with the same text
// ----------------------------------------------------------

/// Every ordered pair disagrees once, by one byte more, one less, and by all of it.
inline void check_count_mismatches(RankHarness& harness, int ranks, CheckLevel check) {
  bool const all = harness.every_case(ranks);
  for (int from = 0; from < ranks; ++from) {
    for (int to = 0; to < ranks; ++to) {
      if (!all && to != (from + 1) % ranks) continue;
      RaggedSizes const sizes{4};
      std::int64_t const bytes = sizes.bytes(from, to);
      for (std::int64_t delta : {std::int64_t{1}, std::int64_t{-1}, -bytes, std::int64_t{100000}}) {
        if (delta == 0 || bytes + delta < 0 || (!all && delta != 1)) continue;
        INFO(harness.name(), ": rank ", from, " sends ", bytes, " + ", delta, " bytes to rank ", to);
        auto const ends = harness.run(ranks, check, [&](Communicator& comm) {
          auto const tweak = [&](bool is_send, int peer) {
            return is_send && comm.rank().value() == from && peer == to ? delta : std::int64_t{0};
          };
          all_to_all_ragged(comm, sizes, {.operation = "dispatch"}, tweak);
        });
        std::string const text = require_same_error(ends, ErrorCode::split_mismatch);
        require_contains(text, "all_to_all_v #0 \"dispatch\": rank " + std::to_string(from) + " sends " +
                                   std::to_string(bytes + delta) + " bytes to rank " + std::to_string(to) +
                                   ", which expects " + std::to_string(bytes));
      }
    }
  }
}

/// One rank expects another contribution in an all_gather_v; one message too many, too few or of another size.
inline void check_other_mismatches(RankHarness& harness, int ranks, CheckLevel check) {
  int const from = ranks - 1;
  int const to = ranks / 2;
  auto const is_pair = [&](Communicator& comm, bool is_send, int peer) {
    return is_send && comm.rank().value() == from && peer == to;
  };
  RaggedSizes sizes{4};
  while (sizes.messages(from, to) == 0) sizes.call += 2;
  auto ends = harness.run(ranks, check, [&](Communicator& comm) {
    all_gather_ragged(comm, sizes, {}, [&](bool is_send, int peer) {
      return !is_send && comm.rank().value() == to && peer == from ? std::int64_t{1} : std::int64_t{0};
    });
  });
  require_contains(require_same_error(ends, ErrorCode::split_mismatch),
                   "rank " + std::to_string(from) + " sends " + std::to_string(sizes.bytes(from, 0)) +
                       " bytes to rank " + std::to_string(to) + ", which expects " +
                       std::to_string(sizes.bytes(from, 0) + 1));
  int const expected = sizes.messages(from, to);
  for (int delta : {1, -1}) {
    ends = harness.run(ranks, check, [&](Communicator& comm) {
      exchange_ragged(comm, sizes, {},
                      [&](bool is_send, int peer) { return is_pair(comm, is_send, peer) ? delta : 0; });
    });
    require_contains(require_same_error(ends, ErrorCode::split_mismatch),
                     "rank " + std::to_string(from) + " sends " + std::to_string(expected + delta) +
                         " messages to rank " + std::to_string(to) + ", which expects " + std::to_string(expected));
  }
  ends = harness.run(ranks, check, [&](Communicator& comm) {
    exchange_ragged(comm, sizes, {}, nullptr, [&](bool is_send, int peer) {
      return is_pair(comm, is_send, peer) ? std::int64_t{3} : std::int64_t{0};
    });
  });
  require_contains(require_same_error(ends, ErrorCode::split_mismatch),
                   "rank " + std::to_string(from) + " sends " + std::to_string(sizes.bytes(from, to) + 3) +
                       " bytes to rank " + std::to_string(to) + ", which expects " +
                       std::to_string(sizes.bytes(from, to)));
}

/// One rank is in another call, under another text, at another sequence number, or under another configuration.
inline void check_desync(RankHarness& harness, int ranks, CheckLevel check) {
  for (int odd = 0; odd < ranks && ranks > 1; ++odd) {
    INFO(harness.name(), ": rank ", odd, " is the odd one");
    std::string const odd_rank = "rank " + std::to_string(odd);
    auto const run = [&](std::function<void(Communicator&, bool)> const& body) {
      return require_same_error(
          harness.run(ranks, check, [&](Communicator& comm) { body(comm, comm.rank().value() == odd); }),
          ErrorCode::desync);
    };
    std::string text = run([](Communicator& comm, bool is_odd) {
      if (is_odd) return comm.barrier({.operation = "step"});
      all_gather_ragged(comm, {1}, {.operation = "step"});
    });
    require_contains(text, odd_rank + " in barrier #0 \"step\"");
    text = run([](Communicator& comm, bool is_odd) { comm.barrier({.operation = is_odd ? "layer 4" : "layer 3"}); });
    require_contains(text, odd_rank + " in barrier #0 \"layer 4\"");
    text = run([](Communicator& comm, bool is_odd) {
      if (is_odd) {
        try {
          comm.all_gather_v({}, {}, {});  // refused on this rank alone, but it counts as a call
        } catch (Error const&) {
        }
      }
      comm.barrier();
    });
    require_contains(text, odd_rank + " in barrier #1");
    text = run([](Communicator& comm, bool is_odd) { comm.barrier({.configuration = is_odd ? 0xabcu : 0xdefu}); });
    require_contains(text, "0000000000000abc on " + odd_rank);
  }
}

/// One rank never arrives: the others hear who, where and what, and nobody hangs.
inline void check_missing_rank(RankHarness& harness, int ranks, CheckLevel check) {
  for (int missing = 0; missing < ranks && ranks > 1; ++missing) {
    INFO(harness.name(), ": rank ", missing, " never arrives");
    int given_up = 0;
    auto const ends = harness.run(ranks, check, [&](Communicator& comm) {
      comm.barrier({.operation = "warm up"});
      if (comm.rank().value() == missing) return harness.wait_for([&] { return given_up == ranks - 1; });
      try {
        all_gather_ragged(comm, {2}, {.operation = "counts", .deadline = harness.short_deadline()});
      } catch (...) {
        harness.update([&] { ++given_up; });
        throw;
      }
    });
    std::string const text = require_same_error(ends, ErrorCode::timeout, missing);
    require_contains(text, "all_gather_v #1 \"counts\": the arrival of all ranks took longer");
    // Whoever's deadline passes first writes the text; on real threads others may still be on their way then.
    require_contains(text, "; missing: rank");
    if (harness.virtual_time()) require_contains(text, "; missing: rank " + std::to_string(missing) + ";");
  }
}

/// A rank throws before call `step` of a program: the others complete exactly `step` calls and learn why.
inline void check_throwing_rank(RankHarness& harness, int ranks, CheckLevel check) {
  constexpr int kCalls = 6;
  for (int thrower = 0; thrower < ranks; ++thrower) {
    for (int step = 0; step < kCalls; ++step) {
      if (!harness.every_case(ranks) && step != thrower % kCalls) continue;
      INFO(harness.name(), ": rank ", thrower, " throws before call ", step);
      std::vector<int> completed(static_cast<std::size_t>(ranks), 0);
      auto const ends = harness.run(ranks, check, [&](Communicator& comm) {
        for (int call = 0; call < kCalls; ++call) {
          if (comm.rank().value() == thrower && call == step) throw std::runtime_error("out of cheese");
          mixed_call(comm, call);
          ++completed[comm.rank().index()];
        }
      });
      REQUIRE(ends[static_cast<std::size_t>(thrower)].text == "out of cheese");
      for (int count : completed) REQUIRE(count == step);
      if (ranks == 1) continue;
      require_contains(require_same_error(ends, ErrorCode::aborted, thrower),
                       "rank " + std::to_string(thrower) + " failed: out of cheese");
    }
  }
}

/// A rank returns before call `step`: the others complete exactly `step` calls and learn who left.
inline void check_early_return(RankHarness& harness, int ranks, CheckLevel check) {
  constexpr int kCalls = 4;
  for (int leaver = 0; leaver < ranks && ranks > 1; ++leaver) {
    for (int step = 0; step < kCalls; ++step) {
      if (!harness.every_case(ranks) && step != leaver % kCalls) continue;
      INFO(harness.name(), ": rank ", leaver, " returns before call ", step);
      std::vector<int> completed(static_cast<std::size_t>(ranks), 0);
      auto const ends = harness.run(ranks, check, [&](Communicator& comm) {
        for (int call = 0; call < kCalls; ++call) {
          if (comm.rank().value() == leaver && call == step) return;
          mixed_call(comm, call);
          ++completed[comm.rank().index()];
        }
      });
      REQUIRE(!ends[static_cast<std::size_t>(leaver)].failed);
      for (int count : completed) REQUIRE(count == step);
      require_contains(require_same_error(ends, ErrorCode::desync, leaver),
                       "rank " + std::to_string(leaver) + " cannot arrive: it returned from its body after " +
                           std::to_string(step) + " calls");
    }
  }
}

/// abort() wakes everybody, the first reason stays, and a poisoned group says the same thing for ever.
inline void check_abort(RankHarness& harness, int ranks, CheckLevel check) {
  for (int aborter = 0; aborter < ranks; ++aborter) {
    INFO(harness.name(), ": rank ", aborter, " aborts");
    auto const ends = harness.run(ranks, check, [&](Communicator& comm) {
      comm.barrier();
      if (comm.rank().value() == aborter) {
        comm.abort("operator pressed stop");
        comm.abort("a second reason");
      }
      std::string first;
      for (int call = 0; call < 8; ++call) {
        try {
          mixed_call(comm, call);
        } catch (Error const& error) {
          if (first.empty()) first = error.what();
          expect(first == error.what(), "a poisoned group changed its mind: " + std::string(error.what()));
          if (call == 7) throw;
          continue;
        }
        throw std::logic_error("a call succeeded in a poisoned group");
      }
    });
    require_contains(require_same_error(ends, ErrorCode::aborted),
                     "rank " + std::to_string(aborter) + " called abort: operator pressed stop");
  }
}

/// Everything at the default level; at the other levels what differs from it: nothing is compared (off), or messages
/// carry checksums (full).
inline void check_communicator(RankHarness& harness, int ranks, CheckLevel check) {
  INFO(harness.name(), ", ", ranks, " ranks, check level ", static_cast<int>(check));
  check_barrier(harness, ranks, check);
  check_data_moves(harness, ranks, check);
  check_empty_calls(harness, ranks, check);
  check_local_mistakes(harness, ranks, check);
  check_throwing_rank(harness, ranks, check);
  if (check == CheckLevel::off) return;
  check_other_mismatches(harness, ranks, check);
  check_desync(harness, ranks, check);
  if (check == CheckLevel::full) return;
  check_count_mismatches(harness, ranks, check);
  check_missing_rank(harness, ranks, check);
  check_early_return(harness, ranks, check);
  check_abort(harness, ranks, check);
}

}  // namespace switchyard::test
