// SPDX-License-Identifier: Apache-2.0
/// GatherMap: all stages of a plan in one direction composed into one list that says where every row comes from.
///
/// Nothing here knows an index formula: the stages themselves carry the names of the rows (16 bytes) instead of the
/// rows, once per plan. A map then replaces them: a row moves once, from where it lies to where it is wanted.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "stages.hpp"

namespace switchyard::cpu {

/// The name of a row as it travels through the stages. All bits zero, as an empty bin is written, names no row: zeros.
struct RowOrigin {
  std::int64_t rank = 0;
  std::int64_t number = 0;  ///< 1 + row of that rank
};

/// Owned by the executor that made it; holds for the plans of all ranks together.
struct GatherMap {
  std::uint64_t group = 0;                 ///< digest of all ranks' plans; 0 = no map yet
  std::vector<std::int64_t> rows_of_rank;  ///< [world] rows that every rank publishes
  std::vector<RowOrigin> origins;          ///< [rows * parts] parts of a row adjacent, in the order they are joined
  std::int64_t parts = 1;                  ///< partial results that make a row: of TP ranks, or of hidden shards
  bool joined = false;                     ///< parts are added in fp32 and rounded, also when there is one
};

/// @return one name per own row, [rows].
[[nodiscard]] std::vector<RowOrigin> own_names(RankId rank, std::int64_t rows);

/// `parts` blocks of `rows` rows each become rows of `parts` adjacent entries.
void interleave_parts(ConstRows blocks, std::int64_t parts, Rows out);

/// Whether the way back can be one map: at most one stage joins partial results.
[[nodiscard]] bool has_one_join(std::vector<DispatchStage> const& path);

}  // namespace switchyard::cpu
