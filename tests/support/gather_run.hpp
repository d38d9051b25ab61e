// SPDX-License-Identifier: Apache-2.0
/// Runs the same plans by a chosen execution path: dispatch once, then combine by every recipe that the plan supports.
///
/// Outputs are bytes, so that two paths are compared bit for bit; every buffer is poisoned before it is written.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "support/dispatch_family_run.hpp"
#include "switchyard/cpu/peer_memory.hpp"
#include "switchyard/cpu/recipe_support.hpp"

namespace support {

/// A communicator that hides what its inner one offers beside Communicator, and counts what moves rows.
class PlainCommunicator : public switchyard::Communicator {
 public:
  using CallOptions = switchyard::CallOptions;
  explicit PlainCommunicator(switchyard::Communicator& inner) : inner_(inner) {}

  [[nodiscard]] switchyard::RankId rank() const noexcept override { return inner_.rank(); }
  [[nodiscard]] int size() const noexcept override { return inner_.size(); }
  void barrier(CallOptions const& options) override { inner_.barrier(options); }
  void all_gather_v(std::span<std::byte const> send, std::span<std::byte> receive,
                    std::span<std::int64_t const> receive_bytes, CallOptions const& options) override {
    inner_.all_gather_v(send, receive, receive_bytes, options);
  }
  void all_to_all_v(std::span<std::byte const> send, std::span<std::int64_t const> send_bytes,
                    std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes,
                    CallOptions const& options) override {
    ++moves_;
    inner_.all_to_all_v(send, send_bytes, receive, receive_bytes, options);
  }
  void exchange(std::span<switchyard::SendMessage const> sends, std::span<switchyard::ReceiveMessage const> receives,
                CallOptions const& options) override {
    ++moves_;
    inner_.exchange(sends, receives, options);
  }
  void abort(std::string const& reason) noexcept override { inner_.abort(reason); }

  /// Calls of all_to_all_v() and exchange() so far.
  [[nodiscard]] int moves() const noexcept { return moves_; }

 private:
  switchyard::Communicator& inner_;
  int moves_ = 0;
};

/// The same, but peers may be read: what the composed path needs.
class CountingCommunicator : public PlainCommunicator, public switchyard::cpu::PeerMemory {
 public:
  explicit CountingCommunicator(switchyard::Communicator& inner)
      : PlainCommunicator(inner), memory_(*switchyard::cpu::peer_memory(inner)) {}
  void read_peers(std::span<std::byte const> published, std::span<std::int64_t const> peer_bytes, Reader const& read,
                  CallOptions const& options) override {
    ++reads_;
    memory_.read_peers(published, peer_bytes, read, options);
  }
  [[nodiscard]] bool allows_reads() const noexcept override { return memory_.allows_reads(); }
  [[nodiscard]] int reads() const noexcept { return reads_; }

 private:
  switchyard::cpu::PeerMemory& memory_;
  int reads_ = 0;
};

/// What one rank ended up with: the dispatched rows, then one combined matrix per recipe.
using RankBytes = std::vector<std::vector<std::byte>>;

template <typename T>
std::vector<std::byte> bytes_of(std::vector<T> const& values) {
  auto const bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

/// How the experts of a PathRun hand back their rows.
enum class ResultRows { f32, token_dtype };

template <typename T>
class PathRun {
 public:
  PathRun(Family const& family, RunCase const& run, ResultRows results)
      : run_(run),
        shards_(family.family == switchyard::DispatchFamily::megablocks),
        results_(results),
        placement_(placement_of(run.input, run.num_experts)),
        plans(plan_group(family, run)) {}

  /// Every rank's outputs.
  std::vector<RankBytes> outputs(switchyard::cpu::ExecutionPath path, switchyard::cpu::Scheduler& scheduler) const {
    std::vector<RankBytes> all(plans.size());
    switchyard::cpu::run_ranks(scheduler, static_cast<int>(plans.size()), {}, [&](switchyard::Communicator& comm) {
      switchyard::cpu::CpuExecutor executor(comm, path);
      all[comm.rank().index()] = rank_outputs(executor, comm.rank());
    });
    return all;
  }

  RankBytes rank_outputs(switchyard::cpu::CpuExecutor& executor, switchyard::RankId rank) const {
    using namespace switchyard;
    auto const& plan = plans[rank.index()];
    auto const tokens = run_.template rows<T>(rank.value(), plan.num_tokens);
    std::vector<T> rows(static_cast<std::size_t>(plan.num_expert_rows() * run_.hidden), narrowed<T>(-12345.0F));
    executor.dispatch(plan, matrix(tokens, plan.num_tokens),
                      TensorView::matrix(std::span(rows), rows_of(plan), run_.hidden));
    RankBytes bytes{bytes_of(rows)};
    auto const results = scaled_rows(run_, plan, placement_, rows, part_of(rank));
    std::vector<T> rounded;
    for (float const value : results) rounded.push_back(narrowed<T>(value));
    for (auto const name : recipe_names()) {
      auto const recipe = *parse_recipe(name);
      if (!cpu::recipe_support(plan, recipe).supported) continue;
      bytes.push_back(results_ == ResultRows::f32 ? combined(executor, plan, recipe, results, tokens)
                                                  : combined(executor, plan, recipe, rounded, tokens));
    }
    return bytes;
  }

 private:
  static std::int64_t rows_of(switchyard::DispatchPlan const& plan) { return plan.num_expert_rows(); }
  /// Which partial results a rank's experts have.
  [[nodiscard]] int part_of(switchyard::RankId rank) const {
    return shards_ ? rank.value() / run_.input.ep : rank.value() % run_.input.tp;
  }
  template <typename V>
  switchyard::ConstTensorView matrix(std::vector<V> const& values, std::int64_t rows) const {
    return switchyard::ConstTensorView::matrix(std::span<V const>(values), rows, run_.hidden);
  }

  /// The tokens serve as the shared expert's rows.
  template <typename V>
  std::vector<std::byte> combined(switchyard::cpu::CpuExecutor& executor, switchyard::DispatchPlan const& plan,
                                  switchyard::CombineRecipe const& recipe, std::vector<V> const& results,
                                  std::vector<T> const& tokens) const {
    using namespace switchyard;
    auto const routing = run_.routing(plan.rank.value());
    cpu::CombineInputs inputs;
    inputs.weights = routing.weights();
    inputs.experts = routing.ids();
    inputs.shared_expert = matrix(tokens, plan.num_tokens);
    std::vector<T> out(tokens.size(), narrowed<T>(-12345.0F));
    executor.combine(plan, recipe, matrix(results, rows_of(plan)), inputs,
                     TensorView::matrix(std::span(out), plan.num_tokens, run_.hidden));
    return bytes_of(out);
  }

  RunCase const& run_;
  bool shards_;
  ResultRows results_;
  switchyard::ExpertPlacement placement_;

 public:
  std::vector<switchyard::DispatchPlan> plans;
};

}  // namespace support
