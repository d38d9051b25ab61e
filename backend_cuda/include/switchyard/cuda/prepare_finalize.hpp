// SPDX-License-Identifier: Apache-2.0
/// What makes a MoeLayer run on a GPU: pairs that move rows in device memory, the exact engine behind core's interface
/// of experts, and the memory in which a layer keeps its rows.
#pragma once

#include <memory>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/cuda/experts.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/experts/expert_gradient.hpp"
#include "switchyard/experts/prepare_options.hpp"
#include "switchyard/experts/workspace.hpp"
#include "switchyard/placement/expert_placement.hpp"

namespace switchyard::cuda {

/// How the ranks of a pair reach each other; both outlive it and have the same ranks.
struct PrepareGroup {
  Communicator& host;          ///< carries counts and plans
  DeviceCommunicator& device;  ///< carries rows
};

/// Where a layer's work is issued. On two streams rows of one micro-batch travel, and are planned, while another's
/// experts compute: start(a), receive(a), compute(a), start(b), receive(b), start_finalize(a), compute(b),
/// finish_finalize(a), start_finalize(b), finish_finalize(b). Events make each stream wait for what it reads of the
/// other. The bytes are those of one stream.
struct LayerStreams {
  StreamView rows;     ///< the caller's: tokens are ready on it, outputs and gradients of tokens are written on it
  StreamView experts;  ///< of the Experts object: prepared rows are there for it, and results on it are waited for
};

/// The pairs of cpu::make_prepare_finalize with the same bytes, rows carried by CudaExecutor.
///
/// All views and spans of the calls (tokens, rows, outputs, d_weights) are device memory; routings lie on the host.
/// Work is issued to `streams.rows`; the second half of finalize and of prepare's backward waits for it and raises what
/// kernels found; what prepare leaves is there for `streams.experts`. Rows travel in the second half of prepare and the
/// first of the others. Binds to the current device. @throws as cpu::make_prepare_finalize. Calls also throw
/// Error{cuda}, and what the communicators throw. Not for capture: plans are made on the host.
[[nodiscard]] std::unique_ptr<PrepareFinalize> make_prepare_finalize(PrepareKind kind, PrepareGroup const& group,
                                                                     ExpertPlacement const& placement,
                                                                     PrepareOptions const& options,
                                                                     LayerStreams streams);
/// All on one stream.
[[nodiscard]] std::unique_ptr<PrepareFinalize> make_prepare_finalize(PrepareKind kind, PrepareGroup const& group,
                                                                     ExpertPlacement const& placement,
                                                                     PrepareOptions const& options, StreamView stream);

/// ExactExperts as a MoeLayer calls it. Views, and spans of row weights and of codes, are device memory; blocks lie on
/// the host. Scratch memory is the object's own (workspaces that callers give are unused), so calls from two threads
/// need two objects. Calls are asynchronous; they wait where weights are codes, or others than those of the call
/// before. Not for capture: blocks are uploaded; use ExactExperts.
class LayerExperts final : public Experts, public ExpertBackward {
 public:
  /// @throws as ExactExperts
  LayerExperts(ExpertMlp const& mlp, StreamView stream);
  ~LayerExperts() override;

  [[nodiscard]] std::string_view name() const noexcept override { return "exact"; }
  [[nodiscard]] ExpertMlp const& mlp() const noexcept override;
  [[nodiscard]] std::int64_t workspace_bytes(std::int64_t) const override { return 0; }
  void apply(ExpertCall const& call, std::span<std::byte> workspace) const override;
  [[nodiscard]] std::int64_t backward_workspace_bytes(std::int64_t) const override { return 0; }
  void backward(ExpertGradientCall const& call, std::span<std::byte> workspace) const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Device memory for MoeLayerOptions::memory.
class DeviceMemorySource final : public MemorySource {
 public:
  [[nodiscard]] MemorySpace space() const noexcept override { return MemorySpace::device; }
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::int64_t bytes) override;
};

}  // namespace switchyard::cuda
