// SPDX-License-Identifier: Apache-2.0
/// Path steps: a plan's stages in either direction as what a GPU does: composed row maps, moves and tree sums.
///
/// Stages between two exchanges only rename rows, so they become one map and a row is copied once for all of them. An
/// exchange that a chunk sort follows receives every (source, local expert) chunk where the sort would have put it, and
/// the way back sends it from there: no sort remains. Pure functions of a valid plan; host integers.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "switchyard/cuda/device_plan.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard::cuda {

/// Output row i is row map[i] of the input; -1 is a row of zeros, kSkippedRow one that this step does not write.
struct MapStep {
  std::vector<std::int64_t> map;
};

/// A block of consecutive rows of one peer.
struct RowBlock {
  RankId peer;
  std::int64_t first_row;
  std::int64_t rows;
};

/// Moves blocks between ranks; blocks of one ordered pair match in list order.
struct MoveStep {
  char const* operation;
  std::vector<RowBlock> sends;
  std::vector<RowBlock> receives;
  std::int64_t input_rows;
  std::int64_t output_rows;
  bool of_partials = false;  ///< rows are fp32 parts of a result, whatever their dtype was
};

/// Adds `terms` blocks of `rows` fp32 rows over the fixed tree and rounds the sums to the result's dtype.
struct TreeStep {
  std::int64_t rows;
  std::int64_t terms;
};

using PathStep = std::variant<MapStep, MoveStep, TreeStep>;

/// A path in dispatch direction. @param skip_source leaves out the first stage (its rows are made another way).
[[nodiscard]] std::vector<PathStep> forward_steps(DispatchPlan const& plan, std::span<DispatchStage const> path,
                                                  ReceiveLayout layout, bool skip_source);

/// A path backwards, from expert rows to the rows of its first stage. When the last step is a map, it may be left to
/// the sum that reads the rows.
[[nodiscard]] std::vector<PathStep> inverse_steps(DispatchPlan const& plan, std::span<DispatchStage const> path,
                                                  ReceiveLayout layout);

/// Takes rows that `self` sends to itself out of a path with one exchange: they need not wait for it, nor be written
/// before and sorted after it. @return output row i of the path is input row [i], or kSkippedRow where `steps` still
/// write it; empty where nothing was taken.
[[nodiscard]] std::vector<std::int64_t> take_own_rows(std::vector<PathStep>& steps, RankId self);

/// Blocks of partials between all ranks that exchange them.
[[nodiscard]] MoveStep move_blocks(char const* operation, std::span<std::int64_t const> send_rows,
                                   std::span<std::int64_t const> receive_rows);
/// Every rank of `group` gets all of its own_rows.
[[nodiscard]] MoveStep gather_move(DispatchPlan const& plan, GroupGather const& stage);
/// Every rank of the group sends each member its rows: the inverse of gather_move(), with one block per member here.
[[nodiscard]] MoveStep reduce_move(DispatchPlan const& plan, GroupGather const& stage);

/// @return rows after `step`.
[[nodiscard]] std::int64_t output_rows_of(PathStep const& step);

}  // namespace switchyard::cuda
