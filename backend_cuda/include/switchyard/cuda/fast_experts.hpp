// SPDX-License-Identifier: Apache-2.0
/// FastExperts: expert MLPs by cuBLAS grouped GEMM on tensor cores; outside the bit contract.
#pragma once

#include <memory>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard::cuda {

/// The computation of ExpertMlp with the sums of both products in cuBLAS's order instead of one chain per element, so
/// bits may differ from ExactExperts, between GPUs and between versions of cuBLAS. Where every partial sum is exact,
/// e.g. for small integers, the bytes are those of ExactExperts.
///
/// Error bound, for S products that are added in fp32 in any order, u = 2^-23 (tensor cores may cut off where fp32
/// rounds) and g(S) = S u / (1 - S u): a sum is within g(S) * (sum of the products' magnitudes) of the exact one. Then
/// comes the rounding to the row dtype that ExactExperts does too. The activation is computed by the same kernel.
///
/// Views, and spans of row weights, are device memory; blocks lie on the host. Scratch memory is the object's own
/// (workspaces that callers give are unused), so calls from two threads need two objects; it grows with the largest
/// call and later calls allocate nothing. Not for capture: cuBLAS reads tables of this object that later calls change.
class FastExperts final : public Experts {
 public:
  /// Binds to the current device.
  /// @throws what ExpertMlp::validate throws; Error{unsupported} for TP above 1, for quantised inputs or activations,
  ///         and unless hidden values and activations are rounded to the row dtype (ExpertRounding::every_store),
  ///         because grouped GEMMs store what they read; Error{cuda}
  FastExperts(ExpertMlp const& mlp, StreamView stream);
  ~FastExperts() override;

  [[nodiscard]] std::string_view name() const noexcept override { return "fast"; }
  [[nodiscard]] ExpertMlp const& mlp() const noexcept override;
  [[nodiscard]] std::int64_t workspace_bytes(std::int64_t) const override { return 0; }
  /// Waits for the tables of the call before it, not for its work; the results are there when the stream passes.
  /// @throws Error{shape_mismatch} naming the operand, Error{unsupported} for codes, biases or weights of another dtype
  ///         than the rows, Error{invalid_argument} for blocks outside the rows, all before work is issued; Error{cuda}
  void apply(ExpertCall const& call, std::span<std::byte> workspace) const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
