// SPDX-License-Identifier: Apache-2.0
#include "vectors/flex.hpp"

#include "switchyard/dispatch/flex_planner.hpp"
#include "vectors/dispatch_case.hpp"

namespace switchyard::tools {

std::string run_flex_case(io::JsonValue const& golden, DispatchBackend const& backend) {
  auto const routings = read_dropless(golden);
  FlexConfig config;
  config.grid = read_grid(golden);
  config.selection = FlexSelection::nonzero_weights;
  auto const placement = ExpertPlacement::contiguous(1, routings.front().num_experts(), config.grid.ep);
  auto const results = run_dispatch(backend, routings, placement, [&](Communicator& comm) {
    return plan_flex(comm, config, routings[comm.rank().index()], placement, 0);
  });
  Comparison comparison;
  compare_group(comparison, results);
  for (std::size_t i = 0; i < results.size(); ++i)
    compare_expert_side(comparison, static_cast<int>(i), golden.at("ranks").at(i), results[i]);
  return comparison.mismatch();
}

std::string run_flex_case(io::JsonValue const& golden) {
  return run_flex_case(golden, cpu_dispatch_backend());
}

}  // namespace switchyard::tools
