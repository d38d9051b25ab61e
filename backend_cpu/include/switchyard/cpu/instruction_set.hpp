// SPDX-License-Identifier: Apache-2.0
/// InstructionSet: which build of the hot loops runs. All builds give the same bits; only speed differs.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace switchyard::cpu {

/// Compilation targets of the hot loops: the compiler's default and, on x86-64, the psABI levels.
enum class InstructionSet { baseline, x86_64_v2, x86_64_v3, x86_64_v4 };

/// @return "baseline", "x86-64-v2", "x86-64-v3", "x86-64-v4".
[[nodiscard]] std::string_view to_string(InstructionSet set) noexcept;
[[nodiscard]] std::optional<InstructionSet> parse_instruction_set(std::string_view name) noexcept;

/// @return the sets that are built in and that this machine can run, narrowest first.
[[nodiscard]] std::vector<InstructionSet> available_instruction_sets();

/// The set in use: the one forced, else the one the environment variable SWITCHYARD_CPU_TARGET names, else the widest
/// available one. @throws Error{invalid_argument} when the variable names an unknown set, Error{unsupported} when it
/// names one that is not available here.
[[nodiscard]] InstructionSet active_instruction_set();

/// Forces a set process-wide, or gives the choice back with an empty value. For tests and measurements.
/// @throws Error{unsupported} when it is not available here.
void force_instruction_set(std::optional<InstructionSet> set);

}  // namespace switchyard::cpu
