// SPDX-License-Identifier: Apache-2.0
/// Entry point of the CLI: hands the arguments to the command table.
#include "commands/commands.hpp"

int main(int argc, char** argv) {
  std::vector<std::string> const arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  return static_cast<int>(switchyard::cli::run_program(switchyard::cli::all_commands(), arguments));
}
