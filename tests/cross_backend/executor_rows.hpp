// SPDX-License-Identifier: Apache-2.0
/// Comparison of one rank's rows: ExpertRowNames says what the rows that its experts see are, found by moving the names
/// of tokens through the plan; compare_bits() reports a difference by them.
#pragma once

#include <numeric>
#include <vector>

#include "pair_report.hpp"
#include "row_report.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/placement/expert_placement.hpp"

namespace cross_backend {

class ExpertRowNames {
 public:
  /// Collective: dispatches (rank + 1, token) of every token on the CPU. @param placement names the logical experts of
  /// the plan's slots; null: a slot is called by its number
  ExpertRowNames(switchyard::cpu::CpuExecutor& cpu, switchyard::DispatchPlan const& plan,
                 switchyard::ExpertPlacement const* placement)
      : rank_(plan.rank.value()),
        blocks_(switchyard::standard_blocks(plan.tokens_per_local_expert)),
        experts_(static_cast<std::size_t>(plan.num_local_experts())) {
    using namespace switchyard;
    std::iota(experts_.begin(), experts_.end(), plan.first_slot);
    if (placement != nullptr)
      for (int& slot : experts_) slot = placement->expert_at(plan.setup.layer, SlotId{slot}).value();
    std::vector<float> names;
    for (std::int64_t token = 0; token < plan.num_tokens; ++token) {
      names.push_back(static_cast<float>(rank_ + 1));
      names.push_back(static_cast<float>(token));
    }
    std::vector<float> rows(static_cast<std::size_t>(2 * plan.num_expert_rows()));
    cpu.dispatch(plan, ConstTensorView::matrix(std::span<float const>(names), plan.num_tokens, 2),
                 TensorView::matrix(std::span(rows), plan.num_expert_rows(), 2));
    for (std::size_t i = 0; i + 1 < rows.size(); i += 2) {
      int const source = static_cast<int>(rows[i]) - 1;
      origins_.push_back(source < 0 ? RowTag{} : RowTag{RankId{source}, static_cast<std::int64_t>(rows[i + 1])});
    }
  }

  [[nodiscard]] RowNames rows(std::int64_t columns) const { return {rank_, columns, 1, blocks_, experts_, origins_}; }

 private:
  int rank_;
  std::vector<switchyard::RowBlock> blocks_;
  std::vector<int> experts_;
  std::vector<switchyard::RowTag> origins_;
};

/// Compares as bits; a difference is said in the words of `names`, whose element size is T's.
template <typename T>
void compare_bits(PairReport& report, std::string const& what, RowNames names, std::vector<T> const& cpu,
                  std::vector<T> const& gpu) {
  report.compared(cpu.size());
  names.element_bytes = sizeof(T);
  std::string const text = difference_text(names, std::as_bytes(std::span(cpu)), std::as_bytes(std::span(gpu)));
  if (!text.empty()) report.failed(what + ": " + text);
}

/// The same for matrices of `columns` columns whose rows are this rank's tokens.
template <typename T>
void compare_bits(PairReport& report, std::string const& what, int rank, std::int64_t columns,
                  std::vector<T> const& cpu, std::vector<T> const& gpu) {
  compare_bits(report, what, {rank, columns}, cpu, gpu);
}

}  // namespace cross_backend
