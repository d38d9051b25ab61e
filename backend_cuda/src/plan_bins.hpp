// SPDX-License-Identifier: Apache-2.0
/// The launcher of MegaBlocks' last stages on the device: the sort of what arrived, and bins.
#pragma once

#include <cstdint>

#include "planner_kernels.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard::cuda {

/// A RowGather to be written. Null lists are not wanted.
struct PlanGather {
  std::int64_t* row_input;
  std::int64_t* row_column;
  std::int64_t* input_begin;
  std::int64_t* input_rows;
};

/// What the counts decide, behind launch_plan_place(). Sorted rows go by (local expert, source, row); the first c of an
/// expert fill its bin of c rows, the others are dropped, and what is left of a bin is empty.
struct PlanBinsParams {
  std::int32_t world;
  std::int32_t num_local;
  std::int64_t const* chunk_sizes;  ///< [world * num_local]
  std::int64_t const* arrived;      ///< [num_local] rows of all sources
  ExpertBins bins;
  std::int64_t capacity;    ///< ExpertBins::capacity; negative: what the fullest expert has
  std::int64_t block_rows;  ///< ExpertBins::blocks
  std::int64_t max_bin_rows;
  std::int64_t* shard_repeat;  ///< [2] null without hidden shards; else written, as is what is sent then
  std::int64_t const* rows_per_slot;
  std::int32_t const* first_slot_of;  ///< [world + 1] of the expert block of every rank
  std::int32_t num_slots;
  std::int32_t blocks;  ///< expert blocks, which ranks hold in turns
  std::int64_t* lane_send;
  std::int64_t* bin_rows;      ///< [num_local] written, as the five below
  std::int64_t* bin_begin;     ///< [num_local + 1]
  std::int64_t* kept_begin;    ///< [num_local + 1] rows in the bins in front
  std::int64_t* sorted_begin;  ///< [num_local * world + 1] chunks by (local expert, source)
  std::int64_t* source_begin;  ///< [world + 1] rows as they arrive
  std::int64_t* numbers;
  unsigned long long* error;
  std::int64_t max_sorted_rows;
  PlanGather sort;    ///< what arrived to sorted rows; row_column is not wanted
  PlanGather binned;  ///< sorted rows to bins; in a world of one rank, tokens to bins
  DeviceGather own;   ///< world 1: tokens to sorted rows; else null
};
/// Asynchronous in `stream`, no allocation, capturable. @throws Error{cuda} if the launch is refused.
void launch_plan_bins(PlanBinsParams const& params, StreamView stream);

}  // namespace switchyard::cuda
