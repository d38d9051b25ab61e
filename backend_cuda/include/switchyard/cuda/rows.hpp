// SPDX-License-Identifier: Apache-2.0
/// Launchers that move and combine token rows on the device: permute, chunk sort, and the fixed-order combine.
#pragma once

#include <cstdint>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cuda {

/// A map's entry for an output row that somebody else writes.
inline constexpr std::int64_t kSkippedRow = -2;
/// Blocks of a kernel that takes what it needs, and of one that leaves room to another beside it.
inline constexpr std::int64_t kAnyBlocks = std::int64_t{1} << 20;
inline constexpr std::int64_t kBlocksBeside = 264;

/// Row i of the output is row map[i] of the input; -1 writes zeros, kSkippedRow nothing. All device memory, not
/// overlapping.
struct GatherRowsParams {
  void const* input;
  void* output;
  std::int64_t const* map;  ///< [num_rows], or null when map32 is given
  std::int64_t num_rows;    ///< rows of the output
  std::int64_t row_bytes;
  std::int32_t const* map32 = nullptr;  ///< [num_rows] the same in half the bytes, for fewer than 2^31 input rows
  std::int64_t max_blocks = kAnyBlocks;
};

/// Row s of the input goes to the output rows places[i], i in [begin[s], begin[s + 1]): the same as a gather whose rows
/// have many readers, with every source read once. All device memory, not overlapping.
struct ScatterRowsParams {
  void const* input;
  void* output;
  std::int64_t const* begin;   ///< [num_sources + 1]
  std::int32_t const* places;  ///< [begin[num_sources]], each output row at most once
  std::int64_t num_sources;
  std::int64_t row_bytes;
  std::int64_t max_blocks = kAnyBlocks;
};

/// Recipe source_slot_order: token t is the sum over its slots i in [row_begin[t], row_begin[t+1]), ascending, of
/// row_weights[i] * rows[token_rows[i]], fp32, unfused, rounded once; a negative row adds nothing. All device memory.
template <typename T>
struct CombineRowsParams {
  T const* rows;                   ///< [*, row_stride]
  T* output;                       ///< [num_tokens, columns]
  std::int64_t const* row_begin;   ///< [num_tokens + 1]
  std::int64_t const* token_rows;  ///< [row_begin[num_tokens]]
  float const* row_weights;        ///< [row_begin[num_tokens]]
  std::int64_t num_tokens;
  std::int64_t columns;
  std::int64_t row_stride;  ///< elements from one row of `rows` to the next
};

/// Asynchronous in `stream`, no allocation, capturable. @throws Error{cuda} if the launch is refused.
void launch_gather_rows(GatherRowsParams const& params, StreamView stream);
void launch_scatter_rows(ScatterRowsParams const& params, StreamView stream);
/// The same; T is float, bf16_t or f16_t.
template <typename T>
void launch_combine_rows(CombineRowsParams<T> const& params, StreamView stream);

}  // namespace switchyard::cuda
