// SPDX-License-Identifier: Apache-2.0
// switchyard version: which program this is.
#include "switchyard/types/version.hpp"

#include <fmt/format.h>

#include "commands/commands.hpp"

namespace switchyard::cli {
namespace {

ExitCode run_version(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  if (json) {
    fmt::print("{{\"schema_version\": 1, \"version\": \"{}\"}}\n", SWITCHYARD_VERSION_STRING);
  } else {
    fmt::print("switchyard {}\n", SWITCHYARD_VERSION_STRING);
  }
  return ExitCode::ok;
}

}  // namespace

Command version_command() {
  return {"version",         "prints the version",   "Prints the program's version.\n",
          {format_option()}, {"switchyard version"}, run_version};
}

}  // namespace switchyard::cli
