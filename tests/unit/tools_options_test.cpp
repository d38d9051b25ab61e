// SPDX-License-Identifier: Apache-2.0
// The command framework: parsing from one table, one-line errors with a fix, help that lists every option.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "cli/suggest.hpp"
#include "cli/table.hpp"
#include "commands/commands.hpp"

namespace cli = switchyard::cli;
using cli::OptionKind;

namespace {

cli::OptionTable table() {
  return {{"FILE", OptionKind::positional, "FILE", "", "input"},
          {"gpus", OptionKind::required, "G", "", "ranks"},
          {"nodes", OptionKind::optional, "N", "1", "hosts"},
          {"ratio", OptionKind::optional, "X", "", "a number"},
          {"verbose", OptionKind::flag, "", "", "say more"}};
}

cli::ParsedOptions given(std::string const& name, std::string const& value) {
  std::map<std::string, std::string> values;
  values.emplace(name, value);
  return cli::ParsedOptions(values);
}

std::string usage_error(std::vector<std::string> const& arguments) {
  try {
    (void)cli::parse_options(table(), arguments);
  } catch (cli::UsageError const& error) {
    return error.what();
  }
  return "<no error>";
}

template <typename Call>
std::string conversion_error(Call const& call) {
  try {
    (void)call();
  } catch (cli::UsageError const& error) {
    return error.what();
  }
  return "<no error>";
}

}  // namespace

TEST_CASE("values, defaults, flags and positionals in any order and both spellings") {
  auto const options = cli::parse_options(table(), {"--gpus=8", "a file with spaces", "--verbose"});
  CHECK(options.text("FILE") == "a file with spaces");
  CHECK(options.integer("gpus", 1, 100) == 8);
  CHECK(options.integer("nodes", 1, 100) == 1);
  CHECK(options.has("verbose"));
  CHECK_FALSE(options.has("ratio"));
  CHECK_FALSE(cli::parse_options(table(), {"--gpus", "8", "x"}).has("verbose"));
  CHECK(cli::parse_options(table(), {"--gpus", "8", "x", "--ratio", "-1.5"}).number("ratio", -2, 2) == -1.5);
  CHECK(cli::parse_options(table(), {"--gpus", "two words", "x"}).text("gpus") == "two words");
}

TEST_CASE("mistakes name the argument and what to do") {
  CHECK(usage_error({"f", "--gpu", "8"}) == "unknown option '--gpu': did you mean '--gpus'?");
  CHECK(usage_error({"f", "--qqqqqqqqqq", "8"}) ==
        "unknown option '--qqqqqqqqqq': known are --gpus, --nodes, --ratio, --verbose, --help");
  CHECK(usage_error({"f"}) == "--gpus is missing: give --gpus G");
  CHECK(usage_error({"--gpus", "8"}) == "FILE is missing: usage is FILE --gpus G [--nodes N] [--ratio X] [--verbose]");
  CHECK(usage_error({"f", "--gpus"}) == "--gpus has no value: give one after it");
  CHECK(usage_error({"f", "--gpus", "8", "--gpus", "9"}) == "--gpus is given twice: keep one");
  CHECK(usage_error({"f", "--gpus", "8", "--verbose=1"}) == "--verbose takes no value: remove what follows '='");
  CHECK(usage_error({"f", "g", "--gpus", "8"}).find("too many arguments") == 0);
  CHECK(usage_error({"f", "g", "h", "--gpus", "8"}).find("too many arguments") == 0);
  CHECK(usage_error({"f", "--g", "8"}).find("unknown option '--g'") == 0);  // no abbreviations
  CHECK(usage_error({"f", "-x", "--gpus", "8"}).find("unknown option '-x'") == 0);
}

TEST_CASE("conversions refuse what is no number or out of range") {
  for (char const* text : {"", "8x", "0x8", "1e3", " 8", "99999999999999999999", "101", "0", "-3"}) {
    CAPTURE(text);
    auto const options = given("gpus", text);
    CHECK(conversion_error([&] { return options.integer("gpus", 1, 100); }) ==
          "--gpus is '" + std::string(text) + "': give an integer in [1, 100]");
  }
  for (char const* text : {"", "nan", "inf", "1.5z", "7"}) {
    CAPTURE(text);
    auto const options = given("x", text);
    CHECK(conversion_error([&] { return options.number("x", 0, 5); }) ==
          "--x is '" + std::string(text) + "': give a number in [0, 5]");
  }
  auto const options = given("format", "jsn");
  CHECK(conversion_error([&] {
          return options.choice("format", {"table", "json"});
        }) == "--format is 'jsn': did you mean 'json'?");
}

TEST_CASE("suggestions: swapped, missing and wrong letters; nothing when nothing is near") {
  CHECK(cli::edit_distance("", "abc") == 3);
  CHECK(cli::edit_distance("abc", "acb") == 1);
  CHECK(cli::edit_distance("kitten", "sitting") == 3);
  CHECK(cli::nearest("paln", {"plan", "verify"}) == "plan");
  CHECK(cli::nearest("zzzzzz", {"plan", "verify"}).empty());
}

TEST_CASE("every option of every command is in its help, with its default, and every command has an example") {
  std::ifstream file(SWITCHYARD_CLI_DOC);
  std::stringstream page;
  page << file.rdbuf();
  for (cli::Command const& command : cli::all_commands()) {
    CAPTURE(command.name);
    std::string const help = cli::help_of(command);
    CHECK(help.find("Examples:\n  switchyard " + command.name) != std::string::npos);
    CHECK(help.find("Exit codes:") != std::string::npos);
    CHECK_FALSE(command.examples.empty());
    CHECK(cli::overview(cli::all_commands()).find(command.summary) != std::string::npos);
    CHECK(page.str().find("## switchyard " + command.name) != std::string::npos);
    for (cli::OptionSpec const& option : command.options) {
      CAPTURE(option.name);
      std::string const spelled = option.kind == OptionKind::positional ? option.name : "--" + option.name;
      CHECK(help.find("\n  " + spelled) != std::string::npos);
      CHECK(help.find(option.help) != std::string::npos);
      if (!option.default_value.empty())
        CHECK(help.find("(default " + option.default_value + ")") != std::string::npos);
      CHECK_MESSAGE(page.str().find("`" + spelled) != std::string::npos, "docs/cli.md does not name it");
    }
  }
}

TEST_CASE("the examples of the help parse with the table that prints them") {
  for (cli::Command const& command : cli::all_commands()) {
    for (std::string const& example : command.examples) {
      CAPTURE(example);
      std::istringstream words(example);
      std::vector<std::string> arguments;
      for (std::string word; words >> word;) arguments.push_back(word);
      REQUIRE(arguments.size() >= 2);
      CHECK(arguments[1] == command.name);
      CHECK_NOTHROW((void)cli::parse_options(command.options, {arguments.begin() + 2, arguments.end()}));
    }
  }
}

TEST_CASE("tables and numbers") {
  cli::TextTable table({"kind", "n"});
  table.add_row({"a", "1,000"});
  table.add_row({"longer", "2"});
  CHECK(table.str() == "kind        n\na       1,000\nlonger      2\n");
  CHECK(cli::grouped(0) == "0");
  CHECK(cli::grouped(999) == "999");
  CHECK(cli::grouped(1000) == "1,000");
  CHECK(cli::grouped(-1234567) == "-1,234,567");
  CHECK(cli::grouped(-123) == "-123");
  CHECK(cli::human_bytes(0) == "0 B");
  CHECK(cli::human_bytes(1023) == "1023 B");
  CHECK(cli::human_bytes(44040192) == "42.0 MiB");
  CHECK(cli::human_bytes(INT64_MAX) == "8.0 EiB");
}
