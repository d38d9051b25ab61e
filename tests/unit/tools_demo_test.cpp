// SPDX-License-Identifier: Apache-2.0
// `switchyard demo`: every check in it holds, and it says the same in every run.
#include <doctest/doctest.h>

#include <sstream>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;
using support::last_line;

namespace {

/// Drops the lines that hold a step's time, "   [0.12 s]".
std::string without_times(std::string const& text) {
  std::istringstream lines(text);
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("   [") != 0) kept += line + '\n';
  }
  return kept;
}

}  // namespace

TEST_CASE("the demo agrees with itself and says the same in every run") {
  CliRunner const cli;
  auto const first = cli.run("demo");
  CAPTURE(first.out);
  CHECK(first.exit_code == 0);
  CHECK(first.err.empty());
  CHECK(last_line(first.out) == "Everything agrees.");
  CHECK(contains(first.out, "0 of 3,801,088 values differ between the placements"));
  CHECK(without_times(first.out) == without_times(cli.run("demo").out));
}
