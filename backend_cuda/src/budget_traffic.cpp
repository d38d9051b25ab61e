// SPDX-License-Identifier: Apache-2.0
// What the calls over slots of fixed size sent, and what of it was needed.
#include <algorithm>
#include <numeric>

#include "budget_lists.hpp"
#include "cuda_error.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

/// @return a list of the device. Waits for the stream.
std::vector<std::int64_t> read_list(std::int64_t const* list, std::size_t count, StreamView stream) {
  std::vector<std::int64_t> values(count);
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(values.data(), list, count * sizeof(std::int64_t), cudaMemcpyDeviceToHost, stream.handle()));
  stream.synchronize();
  return values;
}

bool counts(BudgetSent const& sent, DispatchPlan const& plan, RankId rank) {
  if (rank == plan.rank) return sent.of_self;
  return plan.setup.grid.same_lane(rank, plan.rank) ? sent.of_lane : sent.of_other_lanes;
}

/// What lies of [0, rows) in this rank's share of `budget` rows.
std::int64_t rows_in_share(DispatchPlan const& plan, std::int64_t budget, std::int64_t rows) {
  GroupGather const share = internal::share_of_rows(plan, budget);
  std::int64_t const before =
      std::accumulate(share.receive_rows.begin(), share.receive_rows.begin() + plan.rank.value(), std::int64_t{0});
  return std::clamp<std::int64_t>(rows - before, 0, share.own_rows);
}

/// Every TP rank sends parts of the shares of others, and then its own share, joined, to all of them.
BudgetTraffic traffic_of(BudgetShares const& shares, DispatchPlan const& plan, std::int64_t budget, std::int64_t rows) {
  BudgetTraffic traffic;
  auto const bytes_of = [&](std::int64_t all_rows) {
    std::int64_t const own = rows_in_share(plan, budget, all_rows);
    return (all_rows - own) * shares.part_bytes + own * (plan.setup.grid.tp - 1) * shares.joined_bytes;
  };
  traffic.moved_bytes = bytes_of(budget);
  traffic.needed_bytes = bytes_of(std::min(rows, budget));
  return traffic;
}

}  // namespace

void BudgetPlan::Lists::note_dispatch(std::int64_t row_bytes) {
  BudgetRoute const& route = outward();
  sent_out.assign(1, {route.sent, route.slot_rows, row_bytes, 1, true, !dispatches_singles(), false});
  if (dispatches_singles() && has_parts())
    sent_out.push_back({arrived, route.slot_rows, row_bytes, grid().tp - 1, true, false, true});
}

void BudgetPlan::Lists::note_singles(std::int64_t row_bytes, std::int64_t part_bytes) {
  shared_back = {};
  sent_back.assign(1, {single.received, single.slot_rows, row_bytes, 1, true, false, false});
  if (has_parts()) sent_back.push_back({arrived, single.slot_rows, part_bytes, 1, false, true, false});
}

void BudgetPlan::Lists::note_partials(std::int64_t row_bytes, BudgetShares const& shares) {
  bool const joined = shares.part_bytes > 0;
  shared_back = shares;
  sent_back.assign(1, {carried.received, carried.slot_rows, row_bytes, 1, true, !joined, false});
}

BudgetTraffic BudgetPlan::Lists::traffic(StreamView stream) const {
  BudgetTraffic traffic;
  for (auto const* calls : {&sent_out, &sent_back})
    for (BudgetSent const& sent : *calls) {
      auto const rows = read_list(sent.rows, to_size(world), stream);
      for (RankId rank(0); rank.value() < world; ++rank) {
        if (!counts(sent, skeleton, rank)) continue;
        std::int64_t const row_bytes = sent.row_bytes * sent.copies;
        traffic.needed_bytes += rows[rank.index()] * row_bytes;
        traffic.moved_bytes += (options.exact_splits ? rows[rank.index()] : sent.slot_rows) * row_bytes;
      }
    }
  if (shared_back.part_bytes == 0) return traffic;
  std::int64_t const rows = read_list(&planner.lists().numbers->expert_rows, 1, stream).front();
  BudgetTraffic const shares = traffic_of(shared_back, skeleton, joined_rows(), rows);
  traffic.moved_bytes += shares.moved_bytes;
  traffic.needed_bytes += shares.needed_bytes;
  return traffic;
}

}  // namespace switchyard::cuda
