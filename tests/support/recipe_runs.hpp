// SPDX-License-Identifier: Apache-2.0
/// for_all_runs(): every dispatcher on every grid, named when a check fails.
#pragma once

#include <doctest/doctest.h>

#include <span>
#include <string>

#include "support/recipe_batch.hpp"

namespace support {

inline constexpr switchyard::ExpertParallelGrid kRecipeGrids[] = {{1, 1}, {1, 2}, {1, 4}, {1, 8},
                                                                  {2, 1}, {2, 2}, {2, 4}, {2, 8}};

/// Calls check(run) for every dispatcher on each of `grids`.
template <typename Check>
void for_all_runs(std::span<switchyard::ExpertParallelGrid const> grids, Check const& check) {
  for (auto const grid : grids)
    for (Dispatcher const dispatcher : kDispatchers) {
      RecipeRun run;
      run.grid = grid;
      run.dispatcher = dispatcher;
      CAPTURE(std::string(name_of(dispatcher)));
      CAPTURE(grid.tp);
      CAPTURE(grid.ep);
      check(run);
    }
}

}  // namespace support
