// SPDX-License-Identifier: Apache-2.0
/// PairBatch: what every backend keeps of a micro-batch on its way through a prepare/finalize pair, the order of the
/// calls on it, and what they ask of their operands.
#pragma once

#include <optional>
#include <vector>

#include "switchyard/experts/prepare_finalize.hpp"
#include "switchyard/experts/row_formats.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::internal {

class PairBatch : public PreparedBatch {
 public:
  enum class Step : std::uint8_t { sent, prepared, finalizing, done, weighed, returning, returned };

  /// @throws Error{invalid_argument} unless the batch belongs to `expected_owner` and stands at `wanted`.
  void require_step(PrepareFinalize const* expected_owner, Step wanted) const;
  /// Moves on. @throws as require_step()
  void advance(PrepareFinalize const* expected_owner, Step from, Step to) {
    require_step(expected_owner, from);
    step = to;
  }
  /// Blocks of the pair's output format, from those of the standard one.
  void set_format(PrepareTraits const& traits, PrepareShape const& shape, std::int64_t wire_row_bytes);

  PrepareFinalize const* owner = nullptr;
  Step step = Step::sent;
  RoutingMap const* routing = nullptr;
  bool weighted_input = false;
  std::optional<QuantSpec> quant{};        ///< with this batch's a1_scale
  ConstTensorView sent{};                  ///< [T, packet]
  RowGrouping grouping{};                  ///< of pairs without communication
  std::vector<RowBlock> arrival_blocks{};  ///< rows in the standard format
  std::int64_t arrival_rows = 0;
  ConstTensorView tokens{};  ///< the caller's
  TensorView output{};       ///< from start_finalize() on, and again from start_prepare_backward() on
};

/// @tparam Batch a backend's batch, const or not. @throws Error{invalid_argument} for a batch of another backend
template <typename Batch, typename Base>
Batch& batch_as(Base& batch) {
  auto* const own = dynamic_cast<Batch*>(&batch);
  SWITCHYARD_REQUIRE(own != nullptr, invalid_argument, "the batch was prepared by another backend");
  return *own;
}

/// Expert rows and the bias to join. @throws as require_matrix(), Error{invalid_argument} for a bias without TP
void require_results(PrepareFinalize const& pair, PairBatch const& batch, FinalizeInputs const& inputs,
                     MemorySpace space);
/// @return the dtype of expert rows and their gradients: fp32 where TP joins them. @throws Error{shape_mismatch} for
/// rows of another
[[nodiscard]] DType require_result_dtype(PrepareFinalize const& pair, PairBatch const& batch,
                                         ConstTensorView const& rows);
/// The gradients of a finalize's backward, and its inputs. @throws as require_results(), Error{unsupported} for
/// quantised rows, Error{shape_mismatch} for another number of weights
void require_finalize_backward(PrepareFinalize const& pair, PairBatch const& batch, FinalizeInputs const& inputs,
                               ConstTensorView const& d_output, TensorView const& d_expert_rows,
                               std::span<float const> d_weights, MemorySpace space);

}  // namespace switchyard::internal
