// SPDX-License-Identifier: Apache-2.0
/// Steps over slots of fixed size as one graph: captured in global mode, replayed with other routings.
#pragma once

#include <optional>
#include <vector>

#include "budget_faults.hpp"

namespace cross_backend {

/// Owns a captured graph.
class CapturedStep {
 public:
  template <typename Step>
  CapturedStep(cuda::StreamView stream, Step const& step) : stream_(stream) {
    bool ok = cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeGlobal) == cudaSuccess;
    step();
    ok = cudaStreamEndCapture(stream.handle(), &graph_) == cudaSuccess && ok;
    ok = ok && cudaGraphInstantiate(&runnable_, graph_, 0) == cudaSuccess;
    if (!ok) throw Error(ErrorCode::cuda, "a step could not be captured");
  }
  ~CapturedStep() {
    if (runnable_ != nullptr) static_cast<void>(cudaGraphExecDestroy(runnable_));
    if (graph_ != nullptr) static_cast<void>(cudaGraphDestroy(graph_));
  }
  CapturedStep(CapturedStep const&) = delete;
  CapturedStep& operator=(CapturedStep const&) = delete;
  void launch() const {
    if (cudaGraphLaunch(runnable_, stream_.handle()) != cudaSuccess)
      throw Error(ErrorCode::cuda, "a captured step was not launched");
  }

 private:
  cuda::StreamView stream_;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t runnable_ = nullptr;
};

/// plan, fingerprint, dispatch and combine in one graph. @param unchecked a communicator without host checks
inline void replay_budgets(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& unchecked,
                           Dispatcher dispatcher, CombineRecipe const& recipe) {
  BudgetCase given;
  given.dispatcher = dispatcher;
  given.batch.hidden = 64;
  given.batch.tokens = 24;
  given.expert_rows = 24 * 6;
  given.carries_weights = dispatcher == Dispatcher::flex;
  BudgetRank rank(report, given, comm, unchecked);
  std::int64_t const tokens = rank.part().count;
  std::int64_t const rows = rank.budget().expert_rows();
  cuda::StreamView const stream = rank.stream();
  std::vector<bf16_t> values;
  for (std::int64_t i = 0; i < tokens * 64; ++i) values.push_back(to_bf16(static_cast<float>(i * 37 % 509) / 64.0F));
  auto const in = cuda::upload(values, stream);
  auto const there = poisoned<bf16_t>(rows * 64, rank.stream());
  auto const back = poisoned<bf16_t>(tokens * 64, rank.stream());
  cuda::CombineInputs inputs;
  if (!rank.uses_carried(recipe, CombineRoute::automatic)) inputs.weights = rank.weights();
  auto const step = [&] {
    rank.plan();
    rank.gpu().dispatch(rank.budget(), device_matrix<bf16_t>(in, tokens, 64), device_matrix<bf16_t>(there, rows, 64),
                        stream);
    rank.gpu().combine(rank.budget(), recipe, device_matrix<bf16_t>(there, rows, 64), inputs,
                       device_matrix<bf16_t>(back, tokens, 64), stream);
  };
  rank.draw(1, given.batch.tokens);
  step();
  rank.gpu().check(rank.budget(), stream);
  comm.barrier({.operation = "before capture"});
  CapturedStep const captured(stream, step);
  for (std::uint64_t seed = 2; seed < 7; ++seed) {
    bool const is_bad = seed == 4;
    rank.draw(seed, given.batch.tokens, is_bad ? 0 : -1);
    captured.launch();
    std::string const text = text_of([&] { rank.gpu().check(rank.budget(), stream); });
    expect_text(report, comm, given.name() + " replay", text, is_bad ? "token 0, slot 3 of rank 0" : "nothing");
    if (is_bad) continue;
    rank.compare_plan();
    std::vector<bf16_t> expected(static_cast<std::size_t>(tokens * 64));
    std::vector<bf16_t> expert_rows(static_cast<std::size_t>(rank.core_plan().num_expert_rows() * 64));
    rank.cpu().dispatch(rank.core_plan(), BudgetRank::host(values, tokens, 64),
                        BudgetRank::host(expert_rows, rank.core_plan().num_expert_rows(), 64));
    cpu::CombineInputs on_host;
    auto const host_weights = rank.weights_f32();
    on_host.weights = host_weights;
    rank.cpu().combine(rank.core_plan(), recipe, BudgetRank::host(expert_rows, rank.core_plan().num_expert_rows(), 64),
                       on_host, BudgetRank::host(expected, tokens, 64));
    rank.compare("replay " + std::string(name_of(recipe)), 64, expected, cuda::download<bf16_t>(back, stream));
  }
}

/// Steps until a rank is gone, call by call or as replays of a graph. @param strike called with every step
template <typename Strike>
[[noreturn]] void step_forever(Communicator& comm, cuda::DeviceCommunicator& unchecked, bool as_graph,
                               Strike const& strike) {
  PairReport report;
  BudgetCase given;
  given.batch.hidden = 64;
  BudgetRank rank(report, given, comm, unchecked);
  std::int64_t const tokens = rank.part().count;
  auto const in = poisoned<bf16_t>(tokens * 64, rank.stream());
  auto const there = poisoned<bf16_t>(rank.budget().expert_rows() * 64, rank.stream());
  auto const back = poisoned<bf16_t>(tokens * 64, rank.stream());
  cuda::CombineInputs inputs;
  inputs.weights = rank.weights();
  auto const rows = device_matrix<bf16_t>(there, rank.budget().expert_rows(), 64);
  auto const step = [&] {
    rank.plan();
    rank.gpu().dispatch(rank.budget(), device_matrix<bf16_t>(in, tokens, 64), rows, rank.stream());
    rank.gpu().combine(rank.budget(), CombineRecipe::rank_partial(), rows, inputs,
                       device_matrix<bf16_t>(back, tokens, 64), rank.stream());
  };
  step();
  rank.gpu().check(rank.budget(), rank.stream());
  std::optional<CapturedStep> captured;
  if (as_graph) captured.emplace(rank.stream(), step);
  for (int number = 0;; ++number) {
    strike(number);
    if (captured) captured->launch();
    if (!captured) step();
    rank.gpu().check(rank.budget(), rank.stream());
  }
}

inline void replay_all(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& unchecked) {
  replay_budgets(report, comm, unchecked, Dispatcher::flex, CombineRecipe::rank_partial());
  replay_budgets(report, comm, unchecked, Dispatcher::flex, CombineRecipe::source_slot_order());
  replay_budgets(report, comm, unchecked, Dispatcher::alltoall_rank_major, CombineRecipe::source_slot_order());
  replay_budgets(report, comm, unchecked, Dispatcher::alltoall_rank_major, CombineRecipe::rank_partial());
  replay_budgets(report, comm, unchecked, Dispatcher::allgather, CombineRecipe::exact());
}

}  // namespace cross_backend
