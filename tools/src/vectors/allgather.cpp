// SPDX-License-Identifier: Apache-2.0
#include "vectors/allgather.hpp"

#include <vector>

#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/internal/to_size.hpp"
#include "vectors/dispatch_case.hpp"

namespace switchyard::tools {

std::string run_allgather_case(io::JsonValue const& golden, DispatchBackend const& backend) {
  auto const routings = read_dropless(golden);
  AllGatherConfig config;
  config.grid = read_grid(golden);
  auto const placement = ExpertPlacement::contiguous(1, routings.front().num_experts(), config.grid.ep);
  auto const results = run_dispatch(backend, routings, placement, [&](Communicator& comm) {
    return plan_allgather(comm, config, routings[comm.rank().index()], placement, 0);
  });
  Comparison comparison;
  compare_group(comparison, results);
  for (std::size_t i = 0; i < results.size(); ++i) {
    auto const rank = static_cast<int>(i);
    auto const expected = golden.at("ranks").at(i);
    comparison.expect_list(rank, "permutation", expected.at("permutation"),
                           std::get<RowGather>(results[i].plan.stages.back()).token_of_row);
    compare_expert_side(comparison, rank, expected, results[i]);
  }
  return comparison.mismatch();
}

std::string run_allgather_case(io::JsonValue const& golden) {
  return run_allgather_case(golden, cpu_dispatch_backend());
}

}  // namespace switchyard::tools
