// SPDX-License-Identifier: Apache-2.0
/// Command: one subcommand of the program, as data plus one function.
#pragma once

#include <string>
#include <vector>

#include "cli/options.hpp"

namespace switchyard::cli {

/// Documented in --help and docs/cli.md; scripts rely on the numbers.
enum class ExitCode : int {
  ok = 0,
  found_wrong = 1,  ///< the command ran and what it checked is wrong
  bad_input = 2,    ///< bad usage or input: nothing was written
};

struct Command {
  std::string name;
  std::string summary;  ///< one line
  std::string details;  ///< paragraphs of --help, ending in a newline
  OptionTable options;
  std::vector<std::string> examples;
  /// Prints its report to stdout. Mistakes of the user leave as UsageError or switchyard::Error.
  ExitCode (*run)(ParsedOptions const&);
};

/// @return the text of `switchyard NAME --help`.
[[nodiscard]] std::string help_of(Command const& command);
/// @return the text of `switchyard help`.
[[nodiscard]] std::string overview(std::vector<Command> const& commands);

/// Runs `switchyard ARGUMENTS`, errors included: one line on stderr and the exit code.
[[nodiscard]] ExitCode run_program(std::vector<Command> const& commands, std::vector<std::string> const& arguments);

}  // namespace switchyard::cli
