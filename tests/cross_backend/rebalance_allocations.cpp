// SPDX-License-Identifier: Apache-2.0
// A rank that has no memory for a rebalance: it says so, the other rank is told, no weight was written; and the same
// executors then move the rows in a new group.
//
// By hand: experts (0, 1 | 2, 3) become (2, 1 | 0, 3). The second rank's first allocation is that of a spare row.
#include <memory>

#include "allocation_fault.hpp"
#include "executor_allocations.hpp"
#include "rebalance_members.hpp"
#include "switchyard/cpu/rank_group.hpp"

namespace cross_backend {
namespace {

constexpr int kRanks = 2;
constexpr int kPoorRank = 1;

/// One rank's weights and executor, which outlive the groups.
struct Mover {
  Mover(RebalancePlan const& plan, int rank, cuda::RebalanceMode mode)
      : before(plan.before, RankId(rank)),
        after(plan.after, RankId(rank)),
        memory(cuda::upload(before.bytes(), stream)),
        weights(before.at(memory.as<std::byte>())),
        executor(plan, {.mode = mode}) {}
  RankRows before;
  RankRows after;
  cuda::Stream stream;
  cuda::DeviceBuffer memory;
  RegisteredWeights weights;
  cuda::RebalanceExecutor executor;
  std::optional<ErrorCode> code{};
};

/// @param skip allocations of the poor rank that succeed; negative: all
void execute(std::vector<std::unique_ptr<Mover>>& movers, int skip) {
  cpu::run_ranks(*cpu::make_thread_scheduler(), kRanks, {}, [&](Communicator& comm) {
    Mover& mover = *movers[comm.rank().index()];
    mover.code.reset();
    cuda::HostStagedCommunicator data(comm);
    cuda::fail_allocation_after(comm.rank().value() == kPoorRank ? skip : -1);
    try {
      mover.executor.execute({comm, data}, mover.weights, mover.stream);
    } catch (Error const& error) {
      mover.code = error.code();
    }
    cuda::fail_allocation_after(-1);
  });
}

void expect_bytes(PairReport& report, std::string const& name, Mover& mover, RankRows const& rows) {
  report.compared(rows.bytes().size());
  if (bytes_of(mover.memory, mover.stream) != rows.bytes()) report.failed(name + ": the rows are others");
}

/// @return whether an allocation failed
bool fail_one(PairReport& report, RebalancePlan const& plan, cuda::RebalanceMode mode, int skip) {
  std::string const name = std::string("rebalance ") +
                           (mode == cuda::RebalanceMode::buffered ? "buffered" : "in place") +
                           " with failed allocation " + std::to_string(skip);
  std::vector<std::unique_ptr<Mover>> movers;
  for (int rank = 0; rank < kRanks; ++rank) movers.push_back(std::make_unique<Mover>(plan, rank, mode));
  execute(movers, skip);
  bool const has_failed = movers[kPoorRank]->code.has_value();
  if (has_failed) {
    if (movers[kPoorRank]->code != ErrorCode::out_of_memory)
      report.failed(name + " ended with " + std::string(to_string(*movers[kPoorRank]->code)));
    if (movers[0]->code != ErrorCode::aborted) report.failed(name + ": the other rank was not told");
    for (auto& mover : movers) expect_bytes(report, name, *mover, mover->before);
    execute(movers, -1);
  }
  for (auto& mover : movers) {
    if (mover->code) report.failed(name + ": the second try ended with " + std::string(to_string(*mover->code)));
    expect_bytes(report, name + ", second try", *mover, mover->after);
  }
  return has_failed;
}

}  // namespace

void check_rebalance_allocations(PairReport& report) {
  auto const plan = plan_rebalance(pairs_of_slots(kRanks, 4, {0, 1, 2, 3}), pairs_of_slots(kRanks, 4, {2, 1, 0, 3}));
  for (auto const mode : {cuda::RebalanceMode::buffered, cuda::RebalanceMode::in_place}) {
    int skip = 0;
    while (fail_one(report, plan, mode, skip)) ++skip;
    if (skip == 0) report.failed("a rebalance allocates nothing: no failure was seen");
  }
}

}  // namespace cross_backend
