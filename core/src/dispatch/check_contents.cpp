// SPDX-License-Identifier: Apache-2.0
#include "check_contents.hpp"

#include <algorithm>
#include <vector>

#include "switchyard/dispatch/row_order.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

using Offsets = std::vector<std::int64_t>;

/// Exclusive prefix sums, with the total at the end.
Offsets offsets_of(std::vector<std::int64_t> const& counts) {
  Offsets offsets{0};
  for (std::int64_t const count : counts) offsets.push_back(offsets.back() + count);
  return offsets;
}

class ContentChecker {
 public:
  ContentChecker(std::span<DispatchPlan const> plans, ViolationReport& report) : plans_(plans), report_(report) {
    for (auto const& plan : plans) slot_starts_.push_back(offsets_of(plan.rows_per_slot));
  }

  void run() {
    for (auto const& plan : plans_) {
      switch (plan.setup.family) {
        case DispatchFamily::megatron_alltoall: break;  // its chunks are counts: nothing is left to compare
        case DispatchFamily::megatron_allgather:
        case DispatchFamily::megatron_flex: check_expansion(plan); break;
        case DispatchFamily::megablocks: check_sorted(plan); break;
      }
    }
  }

 private:
  [[nodiscard]] std::int64_t rows_sent(std::size_t source, std::int64_t slot) const {
    return plans_[source].rows_per_slot[to_size(slot)];
  }

  /// First input row of every source in the rows that a plan expands.
  [[nodiscard]] Offsets input_starts(DispatchPlan const& plan) const {
    if (auto const* exchange = plan.find<RowExchange>()) return offsets_of(exchange->receive_rows);
    if (auto const* gather = plan.find<GroupGather>()) return offsets_of(gather->receive_rows);
    return {0};
  }

  /// The token of `source` that its `index`-th input row at `plan` is a copy of.
  [[nodiscard]] std::int64_t token_of_input(DispatchPlan const& plan, DispatchPlan const& source,
                                            std::int64_t index) const {
    if (plan.setup.family == DispatchFamily::megatron_allgather) return index;
    std::int64_t start = 0;
    if (auto const* exchange = source.find<RowExchange>())
      for (int rank = 0; rank < plan.rank.value(); ++rank) start += exchange->send_rows[to_size(rank)];
    return source.find<RowGather>()->token_of_row[to_size(start + index)];
  }

  /// Every expert row must be the (token, k) that its source lists for this slot, in the row order.
  void check_expansion(DispatchPlan const& plan) {
    auto const& expansion = std::get<RowGather>(plan.stages.back());
    auto const starts = input_starts(plan);
    std::size_t row = 0;
    for (int local = 0; local < plan.num_local_experts(); ++local) {
      for (int position = 0; position < plan.setup.grid.world(); ++position) {
        RankId const rank = source_at(plan.setup.grid, plan.setup.row_order, position);
        auto const& source = plans_[rank.index()];
        auto const& sent = std::get<RowGather>(source.row_return.front());
        std::int64_t const first = slot_starts_[rank.index()][to_size(plan.first_slot + local)];
        std::int64_t const count = rows_sent(rank.index(), plan.first_slot + local);
        for (std::int64_t i = first; i < first + count; ++i, ++row) {
          std::int64_t const index = expansion.token_of_row[row] - starts[rank.index()];
          bool const from_source = index >= 0 && index < input_count(plan, starts, rank);
          bool const same = from_source && token_of_input(plan, source, index) == sent.token_of_row[to_size(i)] &&
                            expansion.slot_of_row[row] == sent.slot_of_row[to_size(i)];
          if (!report_.expect(same, DispatchRule::wrong_rows, plan.rank,
                              "expert row {} (local expert {}) is input row {}, slot {}, instead of token {}, slot {} "
                              "of rank {}",
                              row, local, expansion.token_of_row[row], expansion.slot_of_row[row],
                              sent.token_of_row[to_size(i)], sent.slot_of_row[to_size(i)], rank.value()))
            return;
        }
      }
    }
  }

  [[nodiscard]] static std::int64_t input_count(DispatchPlan const& plan, Offsets const& starts, RankId source) {
    if (plan.setup.grid.world() == 1) return input_rows(plan.stages.back());
    return starts[source.index() + 1] - starts[source.index()];
  }

  /// Input rows by (local expert, source, order of arrival), which is what a sort must make of them.
  [[nodiscard]] std::vector<std::int64_t> sorted_inputs(DispatchPlan const& plan) const {
    auto const starts = input_starts(plan);
    std::vector<std::int64_t> sorted;
    for (std::int64_t slot = plan.first_slot; slot < plan.first_slot + plan.num_local_experts(); ++slot) {
      for (std::size_t source = 0; source < plans_.size(); ++source) {
        auto const& sent = slot_starts_[source];
        std::int64_t const first = starts[source] + sent[to_size(slot)] - sent[to_size(plan.first_slot)];
        for (std::int64_t i = 0; i < rows_sent(source, slot); ++i) sorted.push_back(first + i);
      }
    }
    return sorted;
  }

  void check_sorted(DispatchPlan const& plan) {
    if (plan.setup.grid.world() == 1) return;
    std::size_t const exchange = plan.setup.hidden_shards > 1 ? 2 : 1;
    bool const sorts = plan.num_local_experts() > 1;
    if (sorts) {
      auto const& sort = std::get<RowGather>(plan.stages[exchange + 1]).token_of_row;
      auto const expected = sorted_inputs(plan);
      auto const differ = std::mismatch(sort.begin(), sort.end(), expected.begin(), expected.end());
      if (!report_.expect(differ.first == sort.end() && differ.second == expected.end(), DispatchRule::wrong_rows,
                          plan.rank, "sorted row {} is not the input row that its local expert and source say",
                          differ.first - sort.begin()))
        return;
    }
    if (plan.setup.bins != ExpertBins::exact) check_bin_starts(plan, std::get<RowGather>(plan.stages.back()));
  }

  /// The first row of every bin is the first sorted row of its local expert.
  void check_bin_starts(DispatchPlan const& plan, RowGather const& bins) {
    std::int64_t sorted = 0;
    std::int64_t row = 0;
    for (int local = 0; local < plan.num_local_experts(); ++local) {
      std::int64_t arrived = 0;
      for (std::size_t source = 0; source < plans_.size(); ++source)
        arrived += rows_sent(source, plan.first_slot + local);
      std::int64_t const size = plan.tokens_per_local_expert[to_size(local)];
      if (arrived > 0 && size > 0 &&
          !report_.expect(bins.token_of_row[to_size(row)] == sorted, DispatchRule::wrong_rows, plan.rank,
                          "the bin of local expert {} starts with sorted row {} instead of {}", local,
                          bins.token_of_row[to_size(row)], sorted))
        return;
      sorted += arrived;
      row += size;
    }
  }

  std::span<DispatchPlan const> plans_;
  ViolationReport& report_;
  std::vector<Offsets> slot_starts_;  // [world][num_slots + 1]
};

}  // namespace

void check_contents(std::span<DispatchPlan const> plans, ViolationReport& report) {
  ContentChecker(plans, report).run();
}

}  // namespace switchyard
