// SPDX-License-Identifier: Apache-2.0
// A rank that is gone in the middle of a rebalance: its first round is under way then, so that the others wait for its
// rows or for its word that it has theirs.
//
// By hand, 2 ranks: experts (0, 1 | 2, 3) become (3, 0 | 1, 2), every rank one message to the other, and return.
#include "rank_faults_rebalance.hpp"

#include "rebalance_members.hpp"

namespace cross_backend {

void rebalance_forever(cuda::NcclCommunicator& comm, std::function<void(int)> const& strike) {
  int const experts = 2 * comm.size();
  std::vector<int> at_home;
  std::vector<int> moved;
  for (int slot = 0; slot < experts; ++slot) {
    at_home.push_back(slot);
    moved.push_back((slot + experts - 1) % experts);
  }
  auto const before = pairs_of_slots(comm.size(), experts, at_home);
  auto const after = pairs_of_slots(comm.size(), experts, moved);
  RebalancePlan const plans[] = {plan_rebalance(before, after), plan_rebalance(after, before)};
  RankRows const rows(before, comm.rank());
  cuda::Stream const stream;
  auto const memory = cuda::upload(rows.bytes(), stream);
  RegisteredWeights const weights = rows.at(memory.as<std::byte>());
  for (int step = 0;; ++step) {
    cuda::RebalanceExecutor executor(plans[step % 2]);
    executor.begin({comm, comm}, weights, 0, stream);
    strike(step);
    while (!executor.poll()) static_cast<void>(executor.ready());
    executor.commit(stream);
  }
}

}  // namespace cross_backend
