// SPDX-License-Identifier: Apache-2.0
// Reading peers' buffers in place: what every rank sees, and how a call ends when ranks disagree, stay away or die.
//
// By hand: rank 0 publishes {10, 11}, rank 1 {20}. Both see {10, 11} and {20}. If rank 0 expects 2 bytes of rank 1,
// both get split_mismatch with "rank 1 publishes 1 bytes, rank 0 expects 2", and neither reads.
#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/error_text.hpp"
#include "support/gather_run.hpp"
#include "switchyard/cpu/internal/fault_hook.hpp"

using namespace switchyard;
using cpu::PeerMemory;
using support::contains;
using Sizes = std::vector<std::int64_t>;

namespace {

struct Call {
  std::vector<std::byte> published;
  Sizes expected;
  std::uint64_t configuration = 1;
};

/// Every rank makes its call; `reads` counts the readers that ran.
std::vector<cpu::RankOutcome> run_calls(std::vector<Call> const& calls, cpu::GroupOptions const& options, int& reads,
                                        cpu::FaultHook* faults = nullptr) {
  auto const scheduler = cpu::make_cooperative_scheduler(5);
  return cpu::run_ranks_with_faults(
      *scheduler, static_cast<int>(calls.size()), options, faults, [&](Communicator& comm) {
        auto const& call = calls[comm.rank().index()];
        auto const read = [&](PeerMemory::Buffers peers) {
          ++reads;
          REQUIRE(peers.size() == calls.size());
          for (std::size_t rank = 0; rank < peers.size(); ++rank)
            CHECK(std::vector<std::byte>(peers[rank].begin(), peers[rank].end()) == calls[rank].published);
        };
        auto* const memory = cpu::peer_memory(comm);
        REQUIRE(memory != nullptr);
        memory->read_peers(call.published, call.expected, read, {"look", call.configuration, {}});
      });
}

Call call_of(std::vector<int> const& values, Sizes expected) {
  Call call;
  for (int const value : values) call.published.push_back(static_cast<std::byte>(value));
  call.expected = std::move(expected);
  return call;
}

void check_all_failed(std::vector<cpu::RankOutcome> const& outcomes, ErrorCode code, std::string const& part) {
  for (auto const& outcome : outcomes) {
    CHECK(outcome.failed);
    CHECK(outcome.code == code);
    CHECK(outcome.text == outcomes.front().text);
    INFO(outcome.text);
    CHECK(contains(outcome.text, part));
  }
}

}  // namespace

TEST_CASE("every rank sees what every rank published") {
  int reads = 0;
  for (auto const& outcome : run_calls({call_of({10, 11}, {2, 1}), call_of({20}, {2, 1})}, {}, reads))
    CHECK_FALSE(outcome.failed);
  CHECK(reads == 2);
  for (auto const& outcome :
       run_calls({call_of({}, {0, 0, 0}), call_of({}, {0, 0, 0}), call_of({}, {0, 0, 0})}, {}, reads))
    CHECK_FALSE(outcome.failed);
  CHECK(reads == 5);
}

TEST_CASE("ranks that disagree all get the same error, and nobody reads") {
  int reads = 0;
  check_all_failed(run_calls({call_of({10, 11}, {2, 2}), call_of({20}, {2, 1})}, {}, reads), ErrorCode::split_mismatch,
                   "rank 1 publishes 1 bytes, rank 0 expects 2");
  auto other = call_of({20}, {2, 1});
  other.configuration = 2;
  check_all_failed(run_calls({call_of({10, 11}, {2, 1}), other}, {}, reads), ErrorCode::desync, "configuration");
  CHECK(reads == 0);
  auto const scheduler = cpu::make_cooperative_scheduler();
  auto const outcomes = cpu::run_ranks_collect(*scheduler, 2, {}, [&](Communicator& comm) {
    if (comm.rank() == RankId{0}) return comm.barrier();
    cpu::peer_memory(comm)->read_peers({}, Sizes{0, 0}, [&](PeerMemory::Buffers) { ++reads; }, {});
  });
  check_all_failed(outcomes, ErrorCode::desync, "read_peers");
  CHECK(reads == 0);
}

TEST_CASE("a rank's own mistake is its own error") {
  int reads = 0;
  auto const outcomes = run_calls({call_of({10}, {1}), call_of({20}, {1, 1})}, {}, reads);
  CHECK(outcomes[0].code == ErrorCode::shape_mismatch);
  CHECK(contains(outcomes[0].text, "peer_bytes has 1 entries for a group of 2"));
  CHECK(outcomes[1].failed);
  CHECK(reads == 0);
}

TEST_CASE("without checks a reader still never leaves the buffers") {
  cpu::GroupOptions unchecked;
  unchecked.check = CheckLevel::off;
  int reads = 0;
  auto const outcomes = run_calls({call_of({10, 11}, {2, 9}), call_of({20}, {2, 1})}, unchecked, reads);
  CHECK(outcomes[0].code == ErrorCode::split_mismatch);
  CHECK(reads <= 1);  // rank 1 had nothing to complain about
  CHECK(outcomes[1].failed);
}

TEST_CASE("a reader that fails, a rank that dies or stays away ends the call for all") {
  auto const scheduler = cpu::make_cooperative_scheduler();
  auto const outcomes = cpu::run_ranks_collect(*scheduler, 3, {}, [&](Communicator& comm) {
    cpu::peer_memory(comm)->read_peers({}, Sizes{0, 0, 0},
                                       [&](PeerMemory::Buffers) {
                                         if (comm.rank() == RankId{1}) throw std::runtime_error("no more paper");
                                       },
                                       {"look", 0, {}});
  });
  check_all_failed(outcomes, ErrorCode::aborted, "no more paper");
  auto const late = cpu::run_ranks_collect(*scheduler, 3, {}, [&](Communicator& comm) {
    if (comm.rank() == RankId{2}) return;
    cpu::peer_memory(comm)->read_peers({}, Sizes{0, 0, 0}, [](PeerMemory::Buffers) {}, {"look", 0, {}});
  });
  CHECK(late[0].code == ErrorCode::desync);
  CHECK(late[0].text == late[1].text);
  CHECK(contains(late[0].text, "rank 2"));
}

TEST_CASE("every message is summed up or nobody reads: no peer memory with CheckLevel::full") {
  cpu::GroupOptions options;
  options.check = CheckLevel::full;
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 2, options, [](Communicator& comm) { CHECK(cpu::peer_memory(comm) == nullptr); });
  cpu::run_ranks(*scheduler, 2, {}, [](Communicator& comm) {
    CHECK(cpu::peer_memory(comm) != nullptr);
    support::PlainCommunicator plain(comm);
    CHECK(cpu::peer_memory(plain) == nullptr);
  });
}

namespace {

/// Ends rank 1 at one of its calls, before it posts or in the middle of its reads.
class Death : public cpu::FaultHook {
 public:
  Death(std::int64_t sequence, bool before) : sequence_(sequence), before_(before) {}
  void before_post(RankId rank, std::int64_t sequence) override { die(before_, rank, sequence); }
  void after_copy(RankId receiver, RankId, std::int64_t sequence, std::span<std::span<std::byte> const>) override {
    die(!before_, receiver, sequence);
  }
  bool hit = false;

 private:
  void die(bool here, RankId rank, std::int64_t sequence) {
    if (!here || rank != RankId{1} || sequence != sequence_) return;
    hit = true;
    throw std::runtime_error("lights out");
  }
  std::int64_t sequence_;
  bool before_;
};

support::RunCase small_run() {
  support::Random random(3);
  support::RunCase run;
  run.num_experts = 4;
  run.top_k = 2;
  run.hidden = 3;
  run.input.tp = 2;
  run.input.ep = 2;
  run.input.experts_of_ep = support::contiguous_experts(2, 2);
  for (int rank = 0; rank < 4; ++rank)
    run.input.routing.push_back(support::random_tokens(random, 3, 4, 2, false, false));
  return run;
}

}  // namespace

TEST_CASE("a rank that dies anywhere in a composed dispatch and combine ends it for all ranks") {
  auto const run = small_run();
  support::Family const family{DispatchFamily::megatron_alltoall, {}, "alltoall"};
  support::PathRun<float> const paths(family, run, support::ResultRows::f32);
  auto const scheduler = cpu::make_cooperative_scheduler(9);
  int hits = 0;
  for (std::int64_t sequence = 0; sequence < 12; ++sequence)
    for (bool const before : {true, false}) {
      CAPTURE(sequence);
      CAPTURE(before);
      Death death(sequence, before);
      auto const outcomes = cpu::run_ranks_with_faults(*scheduler, 4, {}, &death, [&](Communicator& comm) {
        cpu::CpuExecutor executor(comm, cpu::ExecutionPath::composed);
        (void)paths.rank_outputs(executor, comm.rank());
      });
      hits += death.hit ? 1 : 0;
      for (auto const& outcome : outcomes) {
        CHECK(outcome.failed == death.hit);
        if (death.hit) CHECK(contains(outcome.text, "lights out"));
      }
    }
  CHECK(hits >= 12);
}

TEST_CASE("a wrong plan on one rank gives every rank the same error before rows move, also after good ones") {
  auto const run = small_run();
  auto altered_run = small_run();
  altered_run.input.routing[2][0][0].expert ^= 3;  // another number of rows for some ranks
  support::Family const family{DispatchFamily::megatron_alltoall, {}, "alltoall"};
  auto const plans = support::plan_group(family, run);
  auto const wrong = support::plan_group(family, altered_run);
  REQUIRE(plans[2] != wrong[2]);
  auto const scheduler = cpu::make_cooperative_scheduler(4);
  for (bool const warm : {false, true}) {
    std::vector<std::vector<float>> rows(4);
    auto const outcomes = cpu::run_ranks_collect(*scheduler, 4, {}, [&](Communicator& comm) {
      auto const rank = comm.rank().index();
      cpu::CpuExecutor executor(comm, cpu::ExecutionPath::composed);
      auto const dispatch = [&](DispatchPlan const& plan) {
        auto const tokens = run.rows<float>(static_cast<int>(rank), plan.num_tokens);
        rows[rank].assign(static_cast<std::size_t>(plan.num_expert_rows() * run.hidden), -1.0F);
        executor.dispatch(plan, ConstTensorView::matrix(std::span<float const>(tokens), plan.num_tokens, run.hidden),
                          TensorView::matrix(std::span(rows[rank]), plan.num_expert_rows(), run.hidden));
      };
      if (warm) dispatch(plans[rank]);
      dispatch(rank == 2 ? wrong[rank] : plans[rank]);
    });
    check_all_failed(outcomes, ErrorCode::split_mismatch, "rank 2");
    for (auto const& values : rows)
      for (float const value : values) CHECK(value == -1.0F);
  }
}
