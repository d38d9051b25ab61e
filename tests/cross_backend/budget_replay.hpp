// SPDX-License-Identifier: Apache-2.0
/// Steps over slots of fixed size as one graph: captured in global mode, replayed with other routings.
#pragma once

#include <optional>
#include <vector>

#include "budget_faults.hpp"

namespace cross_backend {

/// plan, fingerprint, dispatch, combine and the gradients of both, from operands that stay where they are.
class ReplayedStep {
 public:
  static constexpr std::int64_t kHidden = 64;

  ReplayedStep(BudgetRank& rank, CombineRecipe const& recipe)
      : rank_(rank),
        recipe_(recipe),
        tokens_(rank.part().count),
        rows_(rank.budget().expert_rows()),
        in_(cuda::upload(values(), rank.stream())),
        there_(poisoned<bf16_t>(rows_ * kHidden, rank.stream())),
        back_(poisoned<bf16_t>(tokens_ * kHidden, rank.stream())),
        token_gradients_(poisoned<bf16_t>(tokens_ * kHidden, rank.stream())),
        row_gradients_(poisoned<bf16_t>(rows_ * kHidden, rank.stream())),
        weight_gradients_(poisoned<float>(tokens_ * rank.given().batch.top_k, rank.stream())) {}

  void issue() {
    rank_.plan();
    rank_.gpu().dispatch(rank_.budget(), of_tokens(in_), of_rows(there_), rank_.stream());
    cuda::CombineInputs inputs;
    if (!rank_.uses_carried(recipe_, CombineRoute::automatic)) inputs.weights = rank_.weights();
    rank_.gpu().combine(rank_.budget(), recipe_, of_rows(there_), inputs, of_tokens(back_), rank_.stream());
    rank_.gpu().dispatch_backward(rank_.budget(), recipe_, of_rows(there_), of_tokens(token_gradients_),
                                  rank_.stream());
    inputs.weights = rank_.weights();
    rank_.gpu().combine_backward(rank_.budget(), of_tokens(in_), of_rows(there_), inputs, of_rows(row_gradients_),
                                 device_matrix<float>(weight_gradients_, tokens_, rank_.given().batch.top_k),
                                 rank_.stream());
  }

  void compare() {
    DispatchPlan const& plan = rank_.core_plan();
    std::int64_t const rows = plan.num_expert_rows();
    std::vector<bf16_t> const tokens = values();
    std::vector<bf16_t> there(static_cast<std::size_t>(rows * kHidden));
    std::vector<bf16_t> back(tokens.size());
    std::vector<bf16_t> token_gradients(tokens.size());
    std::vector<bf16_t> row_gradients(there.size());
    auto const weights = rank_.weights_f32();
    std::vector<float> weight_gradients(weights.size());
    auto const of = [](std::vector<bf16_t>& values, std::int64_t count) {
      return BudgetRank::host(values, count, kHidden);
    };
    cpu::CombineInputs inputs;
    inputs.weights = weights;
    cpu::CpuExecutor& cpu = rank_.cpu();
    cpu.dispatch(plan, BudgetRank::host(tokens, tokens_, kHidden), of(there, rows));
    cpu.combine(plan, recipe_, of(there, rows), inputs, of(back, tokens_));
    cpu.dispatch_backward(plan, recipe_, of(there, rows), {}, of(token_gradients, tokens_));
    cpu.combine_backward(plan, BudgetRank::host(tokens, tokens_, kHidden), of(there, rows), inputs,
                         of(row_gradients, rows), weight_gradients);
    std::string const name = "replay " + std::string(name_of(recipe_));
    rank_.compare(name, kHidden, back, cuda::download<bf16_t>(back_, rank_.stream()));
    rank_.compare(name + " backward", kHidden, token_gradients,
                  cuda::download<bf16_t>(token_gradients_, rank_.stream()));
    auto of_gpu = cuda::download<bf16_t>(row_gradients_, rank_.stream());
    of_gpu.resize(row_gradients.size());
    rank_.compare(name + " row gradients", kHidden, row_gradients, of_gpu);
    rank_.compare(name + " weight gradients", rank_.given().batch.top_k, weight_gradients,
                  cuda::download<float>(weight_gradients_, rank_.stream()));
  }

 private:
  [[nodiscard]] std::vector<bf16_t> values() const {
    std::vector<bf16_t> values;
    for (std::int64_t i = 0; i < tokens_ * kHidden; ++i)
      values.push_back(to_bf16(static_cast<float>(i * 37 % 509) / 64.0F));
    return values;
  }
  [[nodiscard]] TensorView of_tokens(cuda::DeviceBuffer const& buffer) const {
    return device_matrix<bf16_t>(buffer, tokens_, kHidden);
  }
  [[nodiscard]] TensorView of_rows(cuda::DeviceBuffer const& buffer) const {
    return device_matrix<bf16_t>(buffer, rows_, kHidden);
  }

  BudgetRank& rank_;
  CombineRecipe recipe_;
  std::int64_t tokens_;
  std::int64_t rows_;
  cuda::DeviceBuffer in_;
  cuda::DeviceBuffer there_;
  cuda::DeviceBuffer back_;
  cuda::DeviceBuffer token_gradients_;
  cuda::DeviceBuffer row_gradients_;
  cuda::DeviceBuffer weight_gradients_;
};

/// One graph that is launched with several routings, one of them at fault. @param unchecked without host checks
inline void replay_budgets(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& unchecked,
                           Dispatcher dispatcher, CombineRecipe const& recipe, int tp = 1) {
  BudgetCase given;
  given.dispatcher = dispatcher;
  given.tp = tp;
  given.batch.hidden = ReplayedStep::kHidden;
  given.batch.tokens = 24;
  given.expert_rows = 24 * 6;
  given.carries_weights = dispatcher == Dispatcher::flex;
  BudgetRank rank(report, given, comm, unchecked);
  ReplayedStep step(rank, recipe);
  rank.draw(1, given.batch.tokens);
  step.issue();
  rank.gpu().check(rank.budget(), rank.stream());
  comm.barrier({.operation = "before capture"});
  CapturedStep const captured(rank.stream(), [&] { step.issue(); });
  for (std::uint64_t seed = 2; seed < 7; ++seed) {
    bool const is_bad = seed == 4;
    rank.draw(seed, given.batch.tokens, is_bad ? 0 : -1);
    captured.launch();
    std::string const text = text_of([&] { rank.gpu().check(rank.budget(), rank.stream()); });
    expect_text(report, comm, given.name() + " replay", text, is_bad ? "token 0, slot 3 of rank 0" : "nothing");
    if (is_bad) continue;
    rank.compare_plan();
    step.compare();
  }
}

/// Steps until a rank is gone, call by call or as replays of a graph. @param strike called with every step
template <typename Strike>
[[noreturn]] void step_forever(Communicator& comm, cuda::DeviceCommunicator& unchecked, bool as_graph,
                               Strike const& strike) {
  PairReport report;
  BudgetCase given;
  given.batch.hidden = ReplayedStep::kHidden;
  BudgetRank rank(report, given, comm, unchecked);
  ReplayedStep step(rank, CombineRecipe::rank_partial());
  step.issue();
  rank.gpu().check(rank.budget(), rank.stream());
  std::optional<CapturedStep> captured;
  if (as_graph) captured.emplace(rank.stream(), [&] { step.issue(); });
  for (int number = 0;; ++number) {
    strike(number);
    if (captured) captured->launch();
    if (!captured) step.issue();
    rank.gpu().check(rank.budget(), rank.stream());
  }
}

inline void replay_all(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& unchecked) {
  replay_budgets(report, comm, unchecked, Dispatcher::flex, CombineRecipe::rank_partial());
  replay_budgets(report, comm, unchecked, Dispatcher::flex, CombineRecipe::source_slot_order());
  replay_budgets(report, comm, unchecked, Dispatcher::alltoall_rank_major, CombineRecipe::source_slot_order());
  replay_budgets(report, comm, unchecked, Dispatcher::alltoall_rank_major, CombineRecipe::rank_partial());
  replay_budgets(report, comm, unchecked, Dispatcher::allgather, CombineRecipe::exact());
  if (comm.size() > 1)
    replay_budgets(report, comm, unchecked, Dispatcher::megablocks_capacity, CombineRecipe::megablocks());
  if (comm.size() % 2 != 0) return;
  replay_budgets(report, comm, unchecked, Dispatcher::flex, CombineRecipe::rank_partial(), 2);
  replay_budgets(report, comm, unchecked, Dispatcher::alltoall_tp_major, CombineRecipe::source_slot_order(), 2);
}

}  // namespace cross_backend
