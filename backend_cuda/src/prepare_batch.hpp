// SPDX-License-Identifier: Apache-2.0
/// CudaBatch: a micro-batch in device memory on its way through a prepare/finalize pair; and moves of blocks of rows.
#pragma once

#include <optional>
#include <vector>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/device_plan.hpp"
#include "switchyard/internal/pair_batch.hpp"

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

class CudaBatch final : public internal::PairBatch {
 public:
  [[nodiscard]] DispatchPlan const* plan() const noexcept override {
    return device_plan ? &device_plan->plan() : nullptr;
  }

  DeviceBuffer weights{};   ///< [T * top_k]
  DeviceBuffer weighted{};  ///< tokens times their weights
  DeviceBuffer packets{};   ///< codes with their scales
  std::optional<DevicePlan> device_plan{};
  LocalTerms terms{};
  DeviceBuffer travelling{};  ///< rows of a batched format, in the standard one
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
