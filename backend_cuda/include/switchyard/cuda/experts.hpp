// SPDX-License-Identifier: Apache-2.0
/// ExactExperts: the expert MLP of ExpertMlp on a GPU, forward and backward, with the bits of cpu::ExactExperts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard::cuda {

/// A rank's expert weights as kernels read them: checked and described once, used by any number of calls.
class DeviceExpertWeights {
 public:
  /// @param weights views and spans of device memory, which outlive the object; host tables of codes need not.
  /// @throws Error{shape_mismatch} naming operand, extents given and wanted, Error{unsupported} for a dtype
  DeviceExpertWeights(ExpertMlp const& mlp, ExpertWeights const& weights, StreamView stream);
  ~DeviceExpertWeights();
  DeviceExpertWeights(DeviceExpertWeights&&) noexcept;
  DeviceExpertWeights& operator=(DeviceExpertWeights&&) noexcept;

  struct Tables;
  /// For the engine.
  [[nodiscard]] Tables const& tables() const noexcept { return *tables_; }

 private:
  std::unique_ptr<Tables> tables_;
};

/// The operands of ExpertCall in device memory. Blocks lie there too, so that a captured call follows the counts that
/// each replay finds; blocks outside [0, total_rows) are the caller's error and are not found.
struct DeviceExpertCall {
  ConstTensorView rows{};                        ///< [total_rows, H] of the row dtype; unread when row_codes is given
  QuantizedView const* row_codes = nullptr;      ///< spans of device memory
  switchyard::RowBlock const* blocks = nullptr;  ///< [local experts], device memory
  std::int64_t total_rows = 0;
  DeviceExpertWeights const* weights = nullptr;
  float const* row_weights = nullptr;  ///< [total_rows], device memory; null = none
  std::optional<float> a1_scale{};
  std::optional<float> a2_scale{};
  TensorView output{};  ///< as in ExpertCall; may be the memory of `rows`
};

/// As ExpertGradientCall, in device memory.
struct DeviceExpertGradientCall {
  DeviceExpertCall forward{};
  ConstTensorView d_output{};
  /// [total_rows] or null. Every block must be a permutation of itself; that is not checked on the device.
  std::int64_t const* rank_major_rows = nullptr;
  TensorView d_rows{};
  TensorView d_w1{};
  TensorView d_w2{};
  TensorView d_b1{};
  TensorView d_b2{};
};

/// Every result element is one chain of fused multiply-adds per block of I (docs/determinism/experts.md), so bits equal
/// the CPU's. Calls are asynchronous in `stream`, allocate nothing and are capturable.
class ExactExperts {
 public:
  /// Binds to the current device. @throws what ExpertMlp::validate throws, Error{cuda}
  explicit ExactExperts(ExpertMlp const& mlp);
  ~ExactExperts();
  ExactExperts(ExactExperts&&) noexcept;
  ExactExperts& operator=(ExactExperts&&) noexcept;

  [[nodiscard]] ExpertMlp const& mlp() const noexcept;
  /// Bytes of device memory, from a multiple of 64 on, that calls with `total_rows` rows need.
  [[nodiscard]] std::int64_t workspace_bytes(std::int64_t total_rows) const;
  [[nodiscard]] std::int64_t backward_workspace_bytes(std::int64_t total_rows) const;

  /// @param workspace device memory. @throws Error{shape_mismatch}, Error{unsupported}, Error{out_of_memory} for too
  /// small a workspace, before anything is issued; Error{cuda}
  void apply(DeviceExpertCall const& call, std::span<std::byte> workspace, StreamView stream) const;
  /// Gradients in the orders of ExpertGradientCall. @throws as apply, Error{unsupported} for codes
  void backward(DeviceExpertGradientCall const& call, std::span<std::byte> workspace, StreamView stream) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Blocks of experts whose rows stand one behind the other, from counts that only the device knows
/// (StepCounts::rows_per_expert). With it a step and ExactExperts are a layer in one graph:
///   step.plan(), step.dispatch(), launch_expert_blocks(), experts.apply(), step.combine()
/// Counts that an error left undefined are cut to `max_rows` in all, so that the experts stay inside their rows.
/// @param rows_per_expert [experts] @param blocks [experts]; device memory. Asynchronous, no allocation, capturable.
/// @throws Error{cuda}
void launch_expert_blocks(std::int64_t const* rows_per_expert, int experts, std::int64_t max_rows,
                          switchyard::RowBlock* blocks, StreamView stream);

/// Joins the f32 partials of all TP ranks, adds b2 and rounds once; see cpu::finish_partials. Device memory; b2 may be
/// without data; asynchronous, capturable. @throws Error{shape_mismatch} naming the operand
void finish_partials(ExpertMlp const& mlp, std::span<ConstTensorView const> partials,
                     switchyard::RowBlock const* blocks, ConstTensorView const& b2, TensorView const& output,
                     StreamView stream);

/// See cpu::router_weight_backward. Device memory; asynchronous, capturable.
/// @param weights, d_weights [rows] f32. @throws Error{shape_mismatch} naming the operand
void router_weight_backward(ConstTensorView const& rows, ConstTensorView const& weights, ConstTensorView const& d_input,
                            TensorView const& d_rows, TensorView const& d_weights, StreamView stream);

}  // namespace switchyard::cuda
