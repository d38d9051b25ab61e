// SPDX-License-Identifier: Apache-2.0
/// Dispatches tokens to experts on 8 emulated ranks and combines the results, without a GPU.
///
/// Every rank holds 4 tokens of 3 values; token t of rank r is the row [r, t, 1], so every row that an expert sees says
/// where it came from. Expert e multiplies its rows by e + 1. Each token goes to 2 of 16 experts with weights 3/4 and
/// 1/4, so every sum is exact and the printed check is an equality, not a tolerance.
#include <cstdint>
#include <exception>
#include <iostream>
#include <vector>

#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"

namespace sy = switchyard;

namespace {

constexpr int kRanks = 8;
constexpr int kExperts = 16;
constexpr int kTopK = 2;
constexpr std::int64_t kTokens = 4;
constexpr std::int64_t kHidden = 3;

int expert_of(int rank, std::int64_t token, int slot) {
  return static_cast<int>((5 * rank + 3 * token + 7 * slot) % kExperts);
}

sy::RoutingMap routing_of(int rank) {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  for (std::int64_t token = 0; token < kTokens; ++token) {
    for (int slot = 0; slot < kTopK; ++slot) {
      ids.push_back(expert_of(rank, token, slot));
      weights.push_back(slot == 0 ? 0.75F : 0.25F);
    }
  }
  return sy::RoutingMap::from_topk(kTokens, kExperts, kTopK, ids, weights);
}

/// The experts of this rank, in place: rows are grouped by local expert.
void apply_experts(sy::DispatchPlan const& plan, std::vector<float>& rows) {
  std::size_t element = 0;
  for (int local = 0; local < plan.num_local_experts(); ++local) {
    auto const count = plan.tokens_per_local_expert[static_cast<std::size_t>(local)] * kHidden;
    for (std::int64_t i = 0; i < count; ++i) rows[element++] *= static_cast<float>(plan.first_slot + local + 1);
  }
}

/// One rank: plan, dispatch, experts, combine. @return the combined tokens.
std::vector<float> run_rank(sy::Communicator& comm, sy::ExpertPlacement const& placement) {
  sy::RoutingMap const routing = routing_of(comm.rank().value());
  sy::AllToAllConfig const config{.grid = {.tp = 1, .ep = kRanks}};
  sy::DispatchPlan const plan = sy::plan_alltoall(comm, config, routing, placement, /*layer=*/0);

  std::vector<float> tokens;
  for (std::int64_t token = 0; token < kTokens; ++token)
    tokens.insert(tokens.end(), {static_cast<float>(comm.rank().value()), static_cast<float>(token), 1.0F});
  std::vector<float> rows(static_cast<std::size_t>(plan.num_expert_rows() * kHidden));
  std::vector<float> combined(tokens.size());

  sy::cpu::CpuExecutor executor(comm);
  executor.dispatch(plan, sy::ConstTensorView::matrix(std::span<float const>(tokens), kTokens, kHidden),
                    sy::TensorView::matrix(std::span<float>(rows), plan.num_expert_rows(), kHidden));
  apply_experts(plan, rows);
  executor.combine(plan, sy::CombineRecipe::source_slot_order(),
                   sy::ConstTensorView::matrix(std::span<float const>(rows), plan.num_expert_rows(), kHidden),
                   routing.weights(), sy::TensorView::matrix(std::span<float>(combined), kTokens, kHidden));
  return combined;
}

/// What the combine must give: the token times its weighted mean of (expert + 1).
bool as_expected(int rank, std::vector<float> const& combined) {
  for (std::int64_t token = 0; token < kTokens; ++token) {
    float const factor = 0.75F * static_cast<float>(expert_of(rank, token, 0) + 1) +
                         0.25F * static_cast<float>(expert_of(rank, token, 1) + 1);
    float const source[] = {static_cast<float>(rank), static_cast<float>(token), 1.0F};
    for (std::int64_t i = 0; i < kHidden; ++i)
      if (combined[static_cast<std::size_t>(token * kHidden + i)] != factor * source[i]) return false;
  }
  return true;
}

int run() {
  auto const placement = sy::ExpertPlacement::contiguous(/*num_layers=*/1, kExperts, kRanks);
  auto const scheduler = sy::cpu::make_thread_scheduler();
  std::vector<std::vector<float>> combined(kRanks);
  sy::cpu::run_ranks(*scheduler, kRanks, {},
                     [&](sy::Communicator& comm) { combined[comm.rank().index()] = run_rank(comm, placement); });

  int wrong = 0;
  for (int rank = 0; rank < kRanks; ++rank)
    if (!as_expected(rank, combined[static_cast<std::size_t>(rank)])) ++wrong;
  std::cout << kRanks << " ranks, " << kRanks * kTokens << " tokens, " << kRanks * kTokens * kTopK
            << " rows dispatched and combined; ranks with a wrong value: " << wrong << '\n';
  return wrong == 0 ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (std::exception const& error) {
    std::cerr << "example failed: " << error.what() << '\n';
    return 1;
  }
}
