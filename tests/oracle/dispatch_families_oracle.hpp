// SPDX-License-Identifier: Apache-2.0
/// Flex and MegaBlocks as lists that are moved from rank to rank, on top of the AlltoAll oracle's lists of rows sent
/// (reference sections 1.5 and 1.8). Shares no code with the library.
///
/// Worked example: one token of rank 0 that chose experts 0 and 1, both on rank 1 of two. AlltoAll sends it twice, Flex
/// once: unique_rows() of rank 0 is (rank 1, token 0). MegaBlocks sends (slot 0), (slot 1); with room for one row per
/// expert both stay.
#pragma once

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "oracle/dispatch_oracle.hpp"

namespace oracle {

/// (destination rank, token) of every row that Flex sends from `source`.
inline std::vector<std::pair<int, int>> unique_rows(DispatchCase const& input, DispatchOracle const& truth,
                                                    int source) {
  std::set<std::pair<int, int>> rows;
  for (Row const& row : truth.ranks().at(static_cast<std::size_t>(source)).sent)
    for (int ep = 0; ep < input.ep; ++ep)
      for (int tp = 0; tp < input.tp; ++tp)
        if (truth.owns(ep, row.slot)) rows.insert({ep * input.tp + tp, row.token});
  return {rows.begin(), rows.end()};
}

/// The rows of one MegaBlocks rank. Blocks of experts are the case's EP ranks; rank d holds block d mod blocks.
struct MegaBlocksLists {
  std::vector<Row> received;           ///< after the exchange
  std::vector<Row> sorted;             ///< by slot, sources and their order kept
  std::vector<std::vector<Row>> bins;  ///< per local expert, what fits
};

/// @param places of every bin on this rank; a negative number lets everything in.
inline MegaBlocksLists megablocks_lists(DispatchCase const& input, DispatchOracle const& truth, int rank, int places) {
  MegaBlocksLists lists;
  int const block = rank % input.ep;
  for (auto const& source : truth.ranks())
    for (Row const& row : source.sent)
      if (truth.owns(block, row.slot)) lists.received.push_back(row);
  lists.sorted = lists.received;
  std::stable_sort(lists.sorted.begin(), lists.sorted.end(),
                   [](Row const& a, Row const& b) { return a.slot < b.slot; });
  lists.bins.resize(static_cast<std::size_t>(truth.slots_of(block)));
  for (Row const& row : lists.sorted) {
    auto& bin = lists.bins.at(static_cast<std::size_t>(row.slot - truth.first_slot(block)));
    if (places < 0 || static_cast<int>(bin.size()) < places) bin.push_back(row);
  }
  return lists;
}

}  // namespace oracle
