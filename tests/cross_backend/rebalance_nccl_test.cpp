// SPDX-License-Identifier: Apache-2.0
// switchyard_nccl_rebalance: the moves of switchyard_cuda_rebalance between GPUs over NCCL, and those of groups that
// lose a rank, grow and shrink: one process, a thread and a GPU per rank, SWITCHYARD_GPUS of them (default 2). Exit 0
// when both backends leave the same bytes, 1 when not, 77 without that many GPUs.
//
// By hand, 2 GPUs: the layer (0, 1 | 2, 3) becomes (2, 1 | 0, 3): experts 0 and 2 change places, one message each way.
#define DOCTEST_CONFIG_IMPLEMENT  // the harness includes doctest; main() is this file's own
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#include "rebalance_members.hpp"
#include "support/random_placements.hpp"
#include "support/rank_harness_nccl.hpp"
#include "switchyard/cuda/device.hpp"

namespace cross_backend {
namespace {

/// Placements of the seeds whose number of ranks is the number of GPUs.
std::vector<switchyard::test::PlacementPair> moves_of(int ranks, int count) {
  std::vector<switchyard::test::PlacementPair> found;
  for (std::uint64_t seed = 0; std::cmp_less(found.size(), count) && seed < 1000; ++seed) {
    auto pair = switchyard::test::draw_placements(seed);
    if (pair.before.num_ranks() == ranks) found.push_back(std::move(pair));
  }
  return found;
}

int run_all(int ranks) {
  PairReport report;
  auto const moves = moves_of(ranks, 12);
  auto const dead = without_rank_one(ranks);
  auto const scaling = scaling_of(ranks);
  switchyard::test::NcclHarness harness;
  auto const ends = harness.run(ranks, CheckLevel::digest, [&](Communicator& comm) {
    auto& both = dynamic_cast<cuda::NcclCommunicator&>(comm);
    for (std::size_t i = 0; i < moves.size(); ++i)
      rebalance_case(report, "NCCL move " + std::to_string(i), moves[i].before, moves[i].after, {both, both});
    change_members(report, dead, scaling, {both, both});
    comm.barrier({.operation = "end"});
  });
  for (auto const& end : ends)
    if (end.failed) report.failed(end.text);
  std::printf("%d GPUs: %ld comparisons of %zu bytes, %d failed\n", ranks, report.comparisons(), report.values(),
              report.failures());
  return report.failures() == 0 && report.comparisons() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  constexpr int kSkipped = 77;
  char const* const wanted = std::getenv("SWITCHYARD_GPUS");
  int const ranks = wanted != nullptr ? std::atoi(wanted) : 2;
  if (ranks < 1 || switchyard::cuda::device_count() < ranks) {
    std::printf("skipped: %d GPUs wanted, %d found\n", ranks, switchyard::cuda::device_count());
    return kSkipped;
  }
  try {
    return cross_backend::run_all(ranks);
  } catch (std::exception const& error) {
    std::printf("FAILED %s\n", error.what());
    return 1;
  }
}
