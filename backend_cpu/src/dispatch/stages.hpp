// SPDX-License-Identifier: Apache-2.0
/// The stages of a dispatch on the CPU, one function per direction; cpu_executor.cpp strings them together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "row_kernels.hpp"
#include "switchyard/comm/communicator.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard::cpu {

/// What the stages of one call share.
struct StageContext {
  Communicator& comm;
  DispatchPlan const& plan;
  RowKernels const& kernels;
  std::int64_t hidden;
  std::uint64_t configuration;  ///< digest that ranks compare
  std::optional<Duration> deadline;
};

class JoinBias;

/// Rows in memory, contiguous.
struct ConstRows {
  std::byte const* data;
  std::int64_t count;
  std::int64_t row_bytes;
  [[nodiscard]] std::span<std::byte const> bytes() const;
};
struct Rows {
  std::byte* data;
  std::int64_t count;
  std::int64_t row_bytes;
  [[nodiscard]] std::span<std::byte> bytes() const;
  operator ConstRows() const { return {data, count, row_bytes}; }  // NOLINT(google-explicit-constructor)
};

/// Memory that only grows; contents are undefined after reserve().
class ScratchBuffer {
 public:
  /// @throws Error{out_of_memory} naming the size.
  std::byte* reserve(std::int64_t bytes);
  /// Reserves `count` rows. @throws also Error{invalid_argument} when their size overflows.
  Rows rows(std::int64_t count, std::int64_t row_bytes);

 private:
  std::unique_ptr<std::byte[]> data_;
  std::int64_t capacity_ = 0;
};

// dispatch direction: `out` holds output_rows(stage) rows
void permute(StageContext const& context, RowGather const& stage, ConstRows in, Rows out);
void exchange(StageContext const& context, RowExchange const& stage, char const* operation, ConstRows in, Rows out);
void group_gather(StageContext const& context, GroupGather const& stage, ConstRows in, Rows out);
void sort_chunks(StageContext const& context, ChunkSort const& stage, ConstRows in, Rows out);
void repeat_shards(StageContext const& context, ShardRepeat const& stage, ConstRows in, Rows out);

/// Whether the inverse of `stage` adds partial results, which are rounded when they have been added.
inline bool joins_partials(DispatchStage const& stage) {
  return std::holds_alternative<GroupGather>(stage) || std::holds_alternative<ShardRepeat>(stage);
}

// combine direction: `out` holds input_rows(stage) rows; exchange and sort are inverted by inverse_of()
/// @return how many partial results of a row the inverse of `stage` adds.
[[nodiscard]] std::int64_t parts_of(DispatchPlan const& plan, GroupGather const& stage);
/// Every rank of the group gets the partial results of its own rows, [parts][own_rows], peers ascending.
void return_to_owners(StageContext const& context, GroupGather const& stage, ConstRows in, Rows out);
/// Adds the TP ranks' partials, then the bias, and rounds once. @param in of `in_dtype` (f32 or `out_dtype`)
/// @param widened, received scratch memory @param bias of this rank's own rows
void tp_reduce(StageContext const& context, GroupGather const& stage, ConstRows in, DType in_dtype, Rows out,
               DType out_dtype, ScratchBuffer& widened, ScratchBuffer& received, JoinBias const& bias);
/// Adds the hidden shards' partials and rounds once. @param in of `in_dtype` (f32 or `out_dtype`)
void join_shards(StageContext const& context, ShardRepeat const& stage, ConstRows in, DType in_dtype, Rows out,
                 DType out_dtype, ScratchBuffer& widened);
/// A sort or binning backwards: rows that no bin held become zeros.
void undo_permute(StageContext const& context, RowGather const& stage, ConstRows in, Rows out);
/// Rounds f32 elements to `dtype`.
void round_rows(StageContext const& context, ConstRows in, Rows out, DType dtype);

/// parallel_for over [0, count); items of `item_bytes` each are bundled so that a task is worth its start.
void for_items(std::int64_t count, std::int64_t item_bytes,
               std::function<void(std::int64_t, std::int64_t)> const& body);

}  // namespace switchyard::cpu
