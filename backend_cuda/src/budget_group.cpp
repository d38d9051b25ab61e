// SPDX-License-Identifier: Apache-2.0
// Exchanges of slots between the TP ranks of the same experts. Whatever a lane agreed on with its words holds for them.
#include "budget_lists.hpp"

namespace switchyard::cuda {

void BudgetPlan::Lists::gather_in_group(DeviceCommunicator& comm, BudgetCall const& call, std::int64_t row_bytes) {
  int const ep_rank = grid().ep_rank_of(skeleton.rank);
  int const lane = grid().tp_rank_of(skeleton.rank);
  sends.clear();
  receives.clear();
  for (int tp = 0; tp < grid().tp; ++tp) {
    if (tp == lane) continue;
    RankId const peer = grid().rank_of(ep_rank, tp);
    for (int ep = 0; ep < grid().ep; ++ep) {
      RankId const own = grid().rank_of(ep, lane);
      RankId const theirs = grid().rank_of(ep, tp);
      std::byte* const brought =
          own == skeleton.rank ? sent_slot(single, own, row_bytes) : received_slot(single, own, row_bytes);
      sends.push_back({peer, brought, arrived_rows(own) * row_bytes});
      receives.push_back({peer, received_slot(single, theirs, row_bytes), arrived_rows(theirs) * row_bytes});
    }
  }
  comm.exchange_on(call.stream, sends, receives, {call.operation, call.digest, call.deadline});
}

void BudgetPlan::Lists::reduce_in_group(DeviceCommunicator& comm, BudgetCall const& call, std::int64_t row_bytes) {
  int const ep_rank = grid().ep_rank_of(skeleton.rank);
  int const lane = grid().tp_rank_of(skeleton.rank);
  std::int64_t const slot = single.slot_rows * row_bytes;
  std::byte* part = slots.as<std::byte>() + world * slot;
  sends.clear();
  receives.clear();
  for (int tp = 0; tp < grid().tp; ++tp) {
    RankId const peer = grid().rank_of(ep_rank, tp);
    for (int ep = 0; ep < grid().ep; ++ep) {
      RankId const theirs = grid().rank_of(ep, tp);
      sends.push_back({peer, sent_slot(single, theirs, row_bytes), arrived_rows(theirs) * row_bytes});
      receives.push_back({peer, part, arrived_rows(grid().rank_of(ep, lane)) * row_bytes});
      part += slot;
    }
  }
  comm.exchange_on(call.stream, sends, receives, {call.operation, call.digest, call.deadline});
}

}  // namespace switchyard::cuda
