// SPDX-License-Identifier: Apache-2.0
/// The list of commands: a new one is added here and in all_commands().
#pragma once

#include <vector>

#include "cli/command.hpp"

namespace switchyard::cli {

[[nodiscard]] Command backtest_command();
[[nodiscard]] Command bench_command();
[[nodiscard]] Command calibrate_command();
[[nodiscard]] Command check_command();
[[nodiscard]] Command compare_command();
[[nodiscard]] Command convert_command();
[[nodiscard]] Command demo_command();
[[nodiscard]] Command diff_command();
[[nodiscard]] Command dispatch_command();
[[nodiscard]] Command doctor_command();
[[nodiscard]] Command generate_command();
[[nodiscard]] Command inspect_command();
[[nodiscard]] Command layer_command();
[[nodiscard]] Command memory_command();
[[nodiscard]] Command plan_command();
[[nodiscard]] Command replay_command();
[[nodiscard]] Command schedule_command();
[[nodiscard]] Command simulate_command();
[[nodiscard]] Command sweep_command();
[[nodiscard]] Command trace_command();
[[nodiscard]] Command vectors_command();
[[nodiscard]] Command verify_command();
[[nodiscard]] Command version_command();

/// @return every command, in the order of the overview.
[[nodiscard]] std::vector<Command> all_commands();

}  // namespace switchyard::cli
