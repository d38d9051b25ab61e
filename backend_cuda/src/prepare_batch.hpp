// SPDX-License-Identifier: Apache-2.0
/// CudaBatch: a micro-batch in device memory on its way through a prepare/finalize pair; and moves of blocks of rows.
#pragma once

#include <optional>
#include <vector>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/device_plan.hpp"
#include "switchyard/experts/prepare_finalize.hpp"
#include "switchyard/experts/row_formats.hpp"

namespace switchyard::cuda {

/// The pairs of a batch without communication, as sums per token: term i of a token is row rows[i] with weight
/// flats[i].
struct LocalTerms {
  DeviceBuffer begin{};    ///< [T + 1]
  DeviceBuffer rows{};     ///< [terms]
  DeviceBuffer tokens{};   ///< [terms]
  DeviceBuffer flats{};    ///< [terms] token * top_k + slot
  DeviceBuffer weights{};  ///< [terms] floats; all 1 when they were applied to the input
  DeviceBuffer ones{};
  std::int64_t count = 0;
};

class CudaBatch final : public PreparedBatch {
 public:
  enum class Step : std::uint8_t { sent, prepared, finalizing, done, weighed, returning, returned };

  [[nodiscard]] DispatchPlan const* plan() const noexcept override {
    return device_plan ? &device_plan->plan() : nullptr;
  }
  void set_blocks(std::vector<switchyard::RowBlock> blocks, std::int64_t rows, std::int64_t wire_row_bytes) {
    blocks_ = std::move(blocks);
    num_rows_ = rows;
    wire_row_bytes_ = wire_row_bytes;
  }
  /// Moves on. @throws Error{invalid_argument} unless the batch belongs to `owner` and stands at `from`.
  void advance(PrepareFinalize const* expected_owner, Step from, Step to);

  PrepareFinalize const* owner = nullptr;
  Step step = Step::sent;
  RoutingMap const* routing = nullptr;
  bool weighted_input = false;
  std::optional<QuantSpec> quant{};  ///< with this batch's a1_scale
  DeviceBuffer weights{};            ///< [T * top_k]
  DeviceBuffer weighted{};           ///< tokens times their weights
  DeviceBuffer packets{};            ///< codes with their scales
  ConstTensorView sent{};            ///< [T, packet]
  std::optional<DevicePlan> device_plan{};
  RowGrouping grouping{};
  LocalTerms terms{};
  std::vector<switchyard::RowBlock> arrival_blocks{};  ///< rows in the standard format
  std::int64_t arrival_rows = 0;
  ConstTensorView tokens{};
  DeviceBuffer travelling{};  ///< rows of a batched format, in the standard one
  TensorView output{};
};

/// Rows of equal size at equal distances in device memory.
struct PitchedRows {
  void* data = nullptr;
  std::int64_t stride_bytes = 0;
};
/// Copies `bytes` of every row of every block: row i of from_blocks[e] to row i of to_blocks[e].
void copy_row_blocks(PitchedRows from, std::span<switchyard::RowBlock const> from_blocks, PitchedRows to,
                     std::span<switchyard::RowBlock const> to_blocks, std::int64_t bytes, StreamView stream);
/// @throws Error{out_of_memory, cuda}
[[nodiscard]] LocalTerms local_terms(RowGrouping const& grouping, std::span<float const> weights, StreamView stream);

}  // namespace switchyard::cuda
