// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <new>

#include "cli/suggest.hpp"
#include "switchyard/types/error.hpp"
#include "switchyard/types/version.hpp"

namespace switchyard::cli {
namespace {

constexpr char kExitCodes[] =
    "Exit codes:\n"
    "  0  ok\n"
    "  1  the check found something wrong\n"
    "  2  bad usage or input; one line on stderr says what to change, and nothing was written\n";

bool asks_for_help(std::string const& argument) {
  return argument == "--help" || argument == "-h";
}

Command const& find_command(std::vector<Command> const& commands, std::string const& name) {
  std::vector<std::string> names{"help"};
  for (Command const& command : commands) {
    if (command.name == name) return command;
    names.push_back(command.name);
  }
  throw UsageError(fmt::format("unknown command '{}': {}", name, did_you_mean(name, names)));
}

ExitCode print_help(std::vector<Command> const& commands, std::vector<std::string> const& arguments) {
  std::vector<std::string> topics;
  std::copy_if(arguments.begin(), arguments.end(), std::back_inserter(topics),
               [](std::string const& argument) { return !asks_for_help(argument) && argument != "help"; });
  fmt::print("{}", topics.empty() ? overview(commands) : help_of(find_command(commands, topics.front())));
  return ExitCode::ok;
}

ExitCode dispatch(std::vector<Command> const& commands, std::vector<std::string> const& arguments) {
  if (arguments.empty()) throw UsageError("no command given: try 'switchyard help'");
  if (arguments.front() == "--version") return dispatch(commands, {"version"});
  if (arguments.front() == "help" || asks_for_help(arguments.front())) return print_help(commands, arguments);
  Command const& command = find_command(commands, arguments.front());
  if (std::any_of(arguments.begin() + 1, arguments.end(), asks_for_help)) {
    return print_help(commands, {command.name});
  }
  return command.run(parse_options(command.options, {arguments.begin() + 1, arguments.end()}));
}

/// A report that never reached the disk or the pipe must not look like success.
void require_stdout_written() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw UsageError("stdout refused the report: check the disk or the pipe behind it");
  }
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

ExitCode report(std::vector<std::string> const& arguments, std::string const& problem) {
  bool const named = !arguments.empty() && arguments.front().find('-') != 0;
  fmt::print(stderr, "switchyard{}{}: {}\n", named ? " " : "", named ? one_line(arguments.front()) : "",
             one_line(problem));
  return ExitCode::bad_input;
}

/// "Usage: switchyard NAME OPTIONS", wrapped between options.
std::string usage_lines(Command const& command) {
  constexpr std::size_t kWidth = 100;
  std::string line = fmt::format("Usage: switchyard {}", command.name);
  std::string const indent(line.size(), ' ');
  std::string text;
  for (OptionSpec const& option : usage_order(command.options)) {
    std::string const word = usage_of({option});
    if (line.size() + 1 + word.size() > kWidth) {
      text += line + "\n";
      line = indent;
    }
    line += fmt::format(" {}", word);
  }
  return text + line + "\n";
}

}  // namespace

std::string help_of(Command const& command) {
  std::string text =
      fmt::format("switchyard {}: {}\n\n{}\n{}", command.name, command.summary, usage_lines(command), command.details);
  if (!command.options.empty()) text += "\nOptions:\n" + describe_options(command.options);
  text += "\nExamples:\n";
  for (std::string const& example : command.examples) text += "  " + example + "\n";
  return text + "\n" + kExitCodes;
}

std::string overview(std::vector<Command> const& commands) {
  std::string text = fmt::format(
      "switchyard {}: plans, checks and rehearses expert-parallel dispatch and rebalancing\n\n"
      "Usage: switchyard COMMAND [OPTIONS]\n\nCommands:\n",
      SWITCHYARD_VERSION_STRING);
  for (Command const& command : commands) text += fmt::format("  {:<9} {}\n", command.name, command.summary);
  text += fmt::format("  {:<9} this text, or the options of one command\n\n", "help");
  return text + "'switchyard COMMAND --help' lists a command's options with an example.\n\n" + kExitCodes;
}

ExitCode run_program(std::vector<Command> const& commands, std::vector<std::string> const& arguments) {
  try {
    ExitCode const code = dispatch(commands, arguments);
    require_stdout_written();
    return code;
  } catch (Error const& error) {
    return report(arguments, std::string(error.message()));
  } catch (std::bad_alloc const&) {
    return report(arguments, "out of memory: plan fewer layers at once or use a machine with more memory");
  } catch (std::exception const& error) {
    return report(arguments, error.what());
  }
}

}  // namespace switchyard::cli
