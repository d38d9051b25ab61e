// SPDX-License-Identifier: Apache-2.0
#include "commands/commands.hpp"

namespace switchyard::cli {

std::vector<Command> all_commands() {
  return {plan_command(),      convert_command(),  diff_command(),     backtest_command(), schedule_command(),
          verify_command(),    generate_command(), dispatch_command(), inspect_command(),  layer_command(),
          replay_command(),    simulate_command(), trace_command(),    compare_command(),  sweep_command(),
          calibrate_command(), memory_command(),   check_command(),    vectors_command(),  doctor_command(),
          bench_command(),     demo_command(),     version_command()};
}

}  // namespace switchyard::cli
