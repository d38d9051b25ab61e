// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/receive_budget.hpp"

#include <algorithm>
#include <numeric>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

std::int64_t round_up(std::int64_t rows, std::int64_t multiple) {
  SWITCHYARD_REQUIRE(multiple >= 1, invalid_argument, "rounding rows up to a multiple of {}: must be at least 1",
                     multiple);
  return checked_mul(rows / multiple + (rows % multiple != 0 ? 1 : 0), multiple);
}

/// The counts as [world][slots], and the blocks that one EP rank receives.
class Counts {
 public:
  Counts(SlotLayout const& layout, int world, std::span<std::int64_t const> counts)
      : layout_(layout), world_(world), slots_(layout.num_slots()), counts_(counts) {
    SWITCHYARD_REQUIRE(world >= 1, invalid_argument, "a receive budget for a world of {} ranks", world);
    SWITCHYARD_REQUIRE(counts.size() == to_size(checked_mul(world, slots_)), shape_mismatch,
                       "gathered counts hold {} numbers: {} ranks x {} slots need {}", counts.size(), world, slots_,
                       checked_mul(world, slots_));
    for (std::size_t i = 0; i < counts.size(); ++i)
      SWITCHYARD_REQUIRE(counts[i] >= 0, invalid_argument, "rank {} announces {} rows for slot {}", i / to_size(slots_),
                         counts[i], i % to_size(slots_));
  }

  /// Positions in the counts of the blocks that `ep_rank` receives, by (slot, source rank).
  [[nodiscard]] std::vector<std::size_t> blocks_of(int ep_rank) const {
    std::vector<std::size_t> blocks;
    int const first = layout_.first_slot(RankId{ep_rank}).value();
    for (int slot = first; slot < first + layout_.slots_of(RankId{ep_rank}); ++slot)
      for (int source = 0; source < world_; ++source)
        blocks.push_back(to_size(source) * to_size(slots_) + to_size(slot));
    return blocks;
  }

  [[nodiscard]] std::vector<std::int64_t> rows_per_rank() const {
    std::vector<std::int64_t> rows(to_size(layout_.num_ranks()), 0);
    for (int rank = 0; rank < layout_.num_ranks(); ++rank)
      for (auto const block : blocks_of(rank)) rows[to_size(rank)] = checked_add(rows[to_size(rank)], counts_[block]);
    return rows;
  }

 private:
  SlotLayout const& layout_;
  int world_;
  int slots_;
  std::span<std::int64_t const> counts_;
};

void admit_in_row_order(std::vector<std::size_t> const& blocks, std::int64_t budget, std::vector<std::int64_t>& rows) {
  for (auto const block : blocks) {
    rows[block] = std::min(rows[block], budget);
    budget -= rows[block];
  }
}

/// The largest length to which all blocks can be cut without passing the budget.
std::int64_t common_length(std::vector<std::size_t> const& blocks, std::int64_t budget,
                           std::vector<std::int64_t> const& rows) {
  std::vector<std::int64_t> lengths;
  for (auto const block : blocks) lengths.push_back(rows[block]);
  std::sort(lengths.begin(), lengths.end());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    auto const share = budget / static_cast<std::int64_t>(lengths.size() - i);
    if (lengths[i] > share) return share;
    budget -= lengths[i];
  }
  return lengths.empty() ? 0 : lengths.back();
}

void admit_evenly(std::vector<std::size_t> const& blocks, std::int64_t budget, std::vector<std::int64_t>& rows) {
  std::int64_t const length = common_length(blocks, budget, rows);
  for (auto const block : blocks) budget -= std::min(rows[block], length);
  for (auto const block : blocks) {
    bool const one_more = rows[block] > length && budget > 0;
    rows[block] = std::min(rows[block], length + (one_more ? 1 : 0));
    budget -= one_more ? 1 : 0;
  }
}

void require_room(ReceiveAdmission const& admission, std::int64_t budget) {
  auto const& required = admission.required_rows;
  auto const full = std::find_if(required.begin(), required.end(), [&](std::int64_t rows) { return rows > budget; });
  SWITCHYARD_REQUIRE(full == required.end(), shape_mismatch,
                     "EP rank {} would receive {} rows but has room for {}: routing is too uneven for the budget; "
                     "allow {} rows, or let the policy drop or grow",
                     full - required.begin(), *full, budget, admission.required_budget);
}

constexpr std::int64_t kRefused = -1;

/// The token side of a gather whose row i became new_row[i].
void renumber_tokens(RowGather const& old, std::vector<std::int64_t> const& new_row, RowGather& gather) {
  SWITCHYARD_REQUIRE(!old.row_begin.empty(), shape_mismatch, "a gather without row_begin");
  gather.row_begin.push_back(0);
  for (std::size_t token = 0; token + 1 < old.row_begin.size(); ++token) {
    for (auto i = to_size(old.row_begin[token]); i < to_size(old.row_begin[token + 1]); ++i) {
      SWITCHYARD_REQUIRE(i < old.rows_of_token.size() && to_size(old.rows_of_token[i]) < new_row.size(), shape_mismatch,
                         "token {} of the gather names a row that does not exist: validate() the plan first", token);
      std::int64_t const row = new_row[to_size(old.rows_of_token[i])];
      if (row != kRefused) gather.rows_of_token.push_back(row);
    }
    gather.row_begin.push_back(static_cast<std::int64_t>(gather.rows_of_token.size()));
  }
}

}  // namespace

std::vector<std::int64_t> required_receive_rows(SlotLayout const& layout, int world,
                                                std::span<std::int64_t const> gathered_counts) {
  return Counts(layout, world, gathered_counts).rows_per_rank();
}

ReceiveAdmission admit_rows(ReceiveBudget const& budget, SlotLayout const& layout, int world,
                            std::span<std::int64_t const> gathered_counts) {
  SWITCHYARD_REQUIRE(budget.rows >= 0, invalid_argument, "receive budget of {} rows: must not be negative",
                     budget.rows);
  Counts const counts(layout, world, gathered_counts);
  ReceiveAdmission result;
  result.required_rows = counts.rows_per_rank();
  result.dropped_rows.assign(result.required_rows.size(), 0);
  result.admitted.assign(gathered_counts.begin(), gathered_counts.end());
  std::int64_t largest = 0;
  for (auto const rows : result.required_rows) largest = std::max(largest, rows);
  result.required_budget = round_up(largest, budget.multiple);
  result.budget_rows = budget.rows;
  if (budget.policy == OverflowPolicy::error) require_room(result, budget.rows);
  if (budget.policy == OverflowPolicy::grow && largest > budget.rows) result.budget_rows = result.required_budget;
  for (std::size_t rank = 0; rank < result.required_rows.size(); ++rank) {
    if (result.required_rows[rank] <= result.budget_rows) continue;
    auto const blocks = counts.blocks_of(static_cast<int>(rank));
    result.dropped_rows[rank] = result.required_rows[rank] - result.budget_rows;
    budget.rule == OverflowRule::even ? admit_evenly(blocks, result.budget_rows, result.admitted)
                                      : admit_in_row_order(blocks, result.budget_rows, result.admitted);
  }
  return result;
}

AdmittedRows keep_admitted(RowGather const& gather, std::span<std::int64_t const> rows_per_slot,
                           std::span<std::int64_t const> admitted) {
  auto const rows = std::accumulate(rows_per_slot.begin(), rows_per_slot.end(), std::int64_t{0}, checked_add);
  SWITCHYARD_REQUIRE(rows_per_slot.size() == admitted.size() && gather.token_of_row.size() == to_size(rows) &&
                         gather.slot_of_row.size() == to_size(rows) && gather.rows_of_token.size() == to_size(rows),
                     shape_mismatch, "{} rows in {} slots: the gather holds {} rows, the admission {} slots", rows,
                     rows_per_slot.size(), gather.token_of_row.size(), admitted.size());
  AdmittedRows kept;
  kept.rows_per_slot.assign(admitted.begin(), admitted.end());
  std::vector<std::int64_t> new_row(to_size(rows), kRefused);
  std::size_t row = 0;
  for (std::size_t slot = 0; slot < admitted.size(); ++slot) {
    SWITCHYARD_REQUIRE(admitted[slot] >= 0 && admitted[slot] <= rows_per_slot[slot], invalid_argument,
                       "{} rows of slot {} are admitted, but the rank has {}", admitted[slot], slot,
                       rows_per_slot[slot]);
    for (std::int64_t i = 0; i < rows_per_slot[slot]; ++i, ++row) {
      if (i >= admitted[slot]) {
        kept.refused.push_back({gather.token_of_row[row], gather.slot_of_row[row]});
        continue;
      }
      new_row[row] = static_cast<std::int64_t>(kept.gather.token_of_row.size());
      kept.gather.token_of_row.push_back(gather.token_of_row[row]);
      kept.gather.slot_of_row.push_back(gather.slot_of_row[row]);
    }
  }
  renumber_tokens(gather, new_row, kept.gather);
  return kept;
}

std::int64_t receive_budget_rows(std::int64_t num_tokens, int top_k, CapacityRatio factor, std::int64_t multiple) {
  SWITCHYARD_REQUIRE(num_tokens >= 0 && top_k >= 0 && factor.numerator >= 0 && factor.denominator >= 1,
                     invalid_argument,
                     "receive budget of {} tokens x top-{} x {}/{}: nothing may be negative, the denominator at "
                     "least 1",
                     num_tokens, top_k, factor.numerator, factor.denominator);
  auto const rows = checked_mul(checked_mul(num_tokens, top_k), factor.numerator) / factor.denominator;
  return round_up(rows, multiple);
}

}  // namespace switchyard
