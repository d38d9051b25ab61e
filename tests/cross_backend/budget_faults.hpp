// SPDX-License-Identifier: Apache-2.0
/// Steps over slots of fixed size that must fail: the same text on every rank, outputs of zeros, and a plan that works
/// again afterwards.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "budget_packets.hpp"
#include "few_cases.hpp"

namespace cross_backend {

inline std::string text_of(std::function<void()> const& call) {
  try {
    call();
  } catch (Error const& error) {
    return error.what();
  }
  return "nothing";
}

/// Whether every rank got this text.
inline bool is_said_everywhere(Communicator& comm, std::string const& text) {
  constexpr std::int64_t kBytes = 512;
  std::vector<std::byte> mine(kBytes);
  std::memcpy(mine.data(), text.data(), std::min<std::size_t>(text.size(), kBytes));
  std::vector<std::byte> all(static_cast<std::size_t>(kBytes) * static_cast<std::size_t>(comm.size()));
  std::vector<std::int64_t> const sizes(static_cast<std::size_t>(comm.size()), kBytes);
  comm.all_gather_v(mine, all, sizes, {.operation = "texts"});
  for (auto at = all.begin(); at != all.end(); at += kBytes)
    if (!std::equal(mine.begin(), mine.end(), at)) return false;
  return true;
}

inline void expect_text(PairReport& report, Communicator& comm, std::string const& name, std::string const& text,
                        std::string const& wanted) {
  report.compared(1);
  if (text.find(wanted) == std::string::npos) report.failed(name + " said '" + text + "'");
  if (!is_said_everywhere(comm, text)) report.failed(name + " was said differently on another rank");
}

/// A step of the present routing: outputs are zeros, and all ranks raise the same.
inline void refuse_step(BudgetRank& rank, Communicator& comm, std::string const& name, std::string const& wanted,
                        CombineRecipe const& recipe) {
  std::int64_t const rows = rank.budget().expert_rows();
  std::int64_t const tokens = rank.part().count;
  auto const in = poisoned<float>(tokens, rank.stream());
  auto const there = poisoned<float>(rows, rank.stream());
  auto const back = poisoned<float>(tokens, rank.stream());
  auto const weights = cuda::upload(rank.weights_f32(), rank.stream());
  cuda::CombineInputs inputs;
  inputs.weights = weights.view(DType::f32, {tokens, rank.core_plan().slot_columns});
  rank.plan();
  rank.gpu().dispatch(rank.budget(), device_matrix<float>(in, tokens, 1), device_matrix<float>(there, rows, 1),
                      rank.stream());
  rank.gpu().combine(rank.budget(), recipe, device_matrix<float>(there, rows, 1), inputs,
                     device_matrix<float>(back, tokens, 1), rank.stream());
  std::string const text = text_of([&] { rank.gpu().check(rank.budget(), rank.stream()); });
  expect_text(rank.report(), comm, name, text, wanted);
  rank.compare(name + " tokens", 1, std::vector<float>(static_cast<std::size_t>(tokens)),
               cuda::download<float>(back, rank.stream()));
  bool const is_early = wanted.find("different calls") == std::string::npos;
  if (is_early)
    rank.compare(name + " rows", 1, std::vector<float>(static_cast<std::size_t>(rows)),
                 cuda::download<float>(there, rank.stream()));
}

/// Budgets of few rows: a batch of one token fits, others say what they need.
inline void refuse_overflows(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& device_comm,
                             Dispatcher dispatcher, int tp = 1) {
  BudgetCase tight;
  tight.tp = tp;
  tight.dispatcher = dispatcher;
  tight.batch.hidden = 8;
  tight.batch.tokens = 24;
  auto const base = tight;
  tight.expert_rows = 6;
  auto slots = base;
  slots.single_rows = 6;
  slots.carried_rows = 1;
  for (BudgetCase const& given : {tight, slots}) {
    bool const is_slot = given.expert_rows == 0;
    BudgetRank rank(report, given, comm, device_comm);
    std::string const name = given.name() + (is_slot ? " full slots" : " too many expert rows");
    for (int round = 0; round < (takes_few_cases() ? 1 : 2); ++round) {
      rank.draw(3 + static_cast<std::uint64_t>(round), 24);
      refuse_step(rank, comm, name, "a step needs ", {});
      rank.draw(5, 1);
      compare_all(rank);
    }
  }
}

/// One rank's bad id: its text on every rank.
inline void refuse_bad_id(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& device_comm,
                          Dispatcher dispatcher) {
  BudgetCase given;
  given.dispatcher = dispatcher;
  given.batch.hidden = 8;
  BudgetRank rank(report, given, comm, device_comm);
  int const bad = comm.size() - 1;
  rank.draw(2, given.batch.tokens, bad);
  refuse_step(rank, comm, given.name() + " bad id",
              "token 0, slot 3 of rank " + std::to_string(bad) + " names an expert outside the model", {});
  rank.draw(4, given.batch.tokens);
  compare_all(rank);
}

/// Slots of another size on rank 0: no rank gets a plan.
inline void refuse_other_budgets(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& device_comm) {
  if (comm.size() == 1) return;
  BudgetCase given;
  given.carried_rows = comm.rank().value() == 0 ? 12 : 13;
  auto const placement = ExpertPlacement::contiguous(1, given.batch.experts, comm.size());
  std::string const text =
      text_of([&] { cuda::BudgetPlan const plan(device_comm, given.options(comm.size()), placement, 0); });
  expect_text(report, comm, "other budgets", text, "rank 0 has slots of carried rows of 12, rank 1 13");
}

/// Another recipe on rank 0, over a communicator that does not check calls.
inline void refuse_other_calls(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& unchecked) {
  if (comm.size() == 1) return;
  BudgetCase given;
  given.dispatcher = Dispatcher::alltoall_rank_major;
  given.batch.hidden = 8;
  BudgetRank rank(report, given, comm, unchecked);
  bool const is_odd = comm.rank().value() == 0;
  refuse_step(rank, comm, "other calls", "ranks 0 and 1 issued different calls",
              is_odd ? CombineRecipe::megablocks() : CombineRecipe::source_slot_order());
  compare_all(rank);
}

/// Batches of one case: full, smaller, empty.
inline void compare_batches(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& device_comm,
                            BudgetCase const& given) {
  BudgetRank rank(report, given, comm, device_comm);
  compare_all(rank);
  if (takes_few_cases()) return;
  rank.draw(given.batch.seed + 1, given.batch.tokens - 5);
  compare_all(rank);
  rank.draw(given.batch.seed + 2, 0);
  compare_all(rank);
}

/// MegaBlocks' bins: exact, padded to blocks, as large as the fullest, and too small for some rows.
inline void compare_bins(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& device_comm) {
  if (comm.size() == 1) return;
  for (Dispatcher const dispatcher :
       {Dispatcher::megablocks_exact, Dispatcher::megablocks_blocks, Dispatcher::megablocks_capacity})
    for (double const factor : {0.0, 0.05}) {
      bool const has_factor = dispatcher == Dispatcher::megablocks_capacity;
      if ((factor > 0 && !has_factor) || (takes_few_cases() && factor == 0)) continue;
      BudgetCase given;
      given.dispatcher = dispatcher;
      given.capacity_factor = factor;
      given.batch.hidden = 8;
      given.batch.seed = 50;
      given.exact_splits = dispatcher == Dispatcher::megablocks_blocks;
      compare_batches(report, comm, device_comm, given);
    }
}

inline void compare_budgets(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& device_comm,
                            std::vector<std::int64_t> const& hiddens, int tp = 1) {
  for (std::int64_t const hidden : hiddens)
    for (Dispatcher const dispatcher :
         {Dispatcher::flex, Dispatcher::alltoall_rank_major, Dispatcher::alltoall_tp_major, Dispatcher::allgather})
      for (bool const exact_splits : {false, true}) {
        if (takes_few_cases() && (exact_splits || dispatcher == Dispatcher::alltoall_tp_major)) continue;
        if (takes_few_cases() && tp > 1 && dispatcher == Dispatcher::allgather) continue;
        BudgetCase given;
        given.carries_weights = exact_splits == (hidden == 36);
        given.dispatcher = dispatcher;
        given.tp = tp;
        given.batch.hidden = hidden;
        given.batch.seed = 20 + static_cast<std::uint64_t>(hidden);
        given.exact_splits = exact_splits;
        compare_batches(report, comm, device_comm, given);
      }
}

inline void refuse_all(PairReport& report, Communicator& comm, cuda::DeviceCommunicator& device_comm) {
  if (takes_few_cases()) {
    refuse_overflows(report, comm, device_comm, Dispatcher::flex);
    return refuse_bad_id(report, comm, device_comm, Dispatcher::alltoall_rank_major);
  }
  for (Dispatcher const dispatcher : {Dispatcher::flex, Dispatcher::alltoall_rank_major, Dispatcher::allgather}) {
    if (dispatcher != Dispatcher::allgather) refuse_overflows(report, comm, device_comm, dispatcher);
    if (dispatcher != Dispatcher::allgather && comm.size() % 2 == 0)
      refuse_overflows(report, comm, device_comm, dispatcher, 2);
    refuse_bad_id(report, comm, device_comm, dispatcher);
  }
  if (comm.size() > 1) refuse_overflows(report, comm, device_comm, Dispatcher::megablocks_exact);
  refuse_other_budgets(report, comm, device_comm);
}

}  // namespace cross_backend
