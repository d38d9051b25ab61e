// SPDX-License-Identifier: Apache-2.0
/// Moving rows by a gather map: straight from the buffers in which the peers hold them.
#pragma once

#include <span>

#include "combine_recipes.hpp"
#include "gather_map.hpp"
#include "switchyard/cpu/peer_memory.hpp"

namespace switchyard::cpu {

/// Row i of `out` becomes a copy of the row that origins[i] names; zeros where it names none.
void copy_rows(std::vector<RowOrigin> const& origins, PeerMemory::Buffers peers, Rows out);

/// Where a combine finds its rows.
struct PeerRows {
  GatherMap const& map;
  PeerMemory::Buffers peers;  ///< expert rows of `held`
  DType held;                 ///< f32 or `wanted`
  DType wanted;               ///< what the sum takes
};

/// Sums every token. A token's rows are brought into a buffer that stays in the second-level cache, joined and rounded
/// on the way where the plan says so, and added there: the same loops as for rows that were brought home.
void sum_peer_rows(StageContext const& context, SourceSum const& sum, PeerRows const& rows);

}  // namespace switchyard::cpu
