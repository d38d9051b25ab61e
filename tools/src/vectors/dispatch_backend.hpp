// SPDX-License-Identifier: Apache-2.0
/// DispatchBackend: what executes the plans of vectors. Operands are host memory on every backend.
#pragma once

#include <functional>
#include <memory>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/types/tensor_view.hpp"
#include "vectors/routed_batch.hpp"

namespace switchyard::tools {

/// One rank's executor of one plan.
class RankExecutor {
 public:
  virtual ~RankExecutor() = default;
  RankExecutor() = default;
  RankExecutor(RankExecutor const&) = delete;
  RankExecutor& operator=(RankExecutor const&) = delete;
  /// @param tokens [T, H] f32 @param rows [plan.num_expert_rows(), H] f32
  virtual void dispatch(ConstTensorView tokens, TensorView rows) = 0;
  /// In source_slot_order. @param weights [T, slot columns] @param out [T, H] f32
  virtual void combine(ConstTensorView expert_rows, std::span<float const> weights, TensorView out) = 0;
};

/// Runs every rank of a group and gives it executors.
struct DispatchBackend {
  /// Calls `body` once per rank; returns when all are done, throws what the first failing one threw.
  void (*run)(int ranks, std::function<void(Communicator&)> const& body) = nullptr;
  /// @param comm, plan outlive the executor.
  std::unique_ptr<RankExecutor> (*make)(Communicator& comm, DispatchPlan const& plan) = nullptr;
  /// Carries out a rebalance on one rank's rows, [layers, slots, 2], in place. Collective.
  void (*move)(Communicator& comm, RebalancePlan const& plan, std::span<std::int64_t> rows) = nullptr;
  /// Routes a batch; null: core does.
  vectors::RoutedBatch (*route)(vectors::RouterRequest const& request) = nullptr;
};

/// The CPU reference, all ranks on one thread.
[[nodiscard]] DispatchBackend const& cpu_dispatch_backend();
/// CudaExecutor, RebalanceExecutor and Router, all ranks on one GPU, rows between them through host memory.
/// @throws Error{unsupported} in a build without CUDA, Error{cuda} without a usable GPU, saying what to do.
[[nodiscard]] DispatchBackend const& cuda_dispatch_backend();

}  // namespace switchyard::tools
