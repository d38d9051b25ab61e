// SPDX-License-Identifier: Apache-2.0
// Boost.Program_options behind the table: its messages become one-line errors that name a fix.
#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>

#include "cli/options.hpp"
#include "cli/suggest.hpp"

namespace switchyard::cli {
namespace {

namespace po = boost::program_options;

po::options_description describe_for_boost(OptionTable const& table) {
  po::options_description description;
  for (OptionSpec const& option : table) {
    // std::string values only: program_options takes them whole, spaces included.
    auto* const value = po::value<std::string>();
    if (option.kind == OptionKind::flag) value->zero_tokens()->implicit_value("1");
    description.add_options()(option.name.c_str(), value, "");
  }
  return description;
}

std::vector<std::string> spellings(OptionTable const& table) {
  std::vector<std::string> names;
  for (OptionSpec const& option : table) {
    if (option.kind != OptionKind::positional) names.push_back("--" + option.name);
  }
  names.emplace_back("--help");
  return names;
}

std::string spelled(OptionTable const& table, std::string const& boost_name) {
  std::string const name = boost_name.substr(std::min(boost_name.find_first_not_of('-'), boost_name.size()));
  for (OptionSpec const& option : table) {
    if (option.name == name && option.kind == OptionKind::positional) return option.value_name;
  }
  return "--" + name;
}

po::parsed_options parse_with_boost(OptionTable const& table, std::vector<std::string> const& arguments) {
  po::options_description const description = describe_for_boost(table);
  po::positional_options_description positional;
  for (OptionSpec const& option : table) {
    if (option.kind == OptionKind::positional) positional.add(option.name.c_str(), option.repeats ? -1 : 1);
  }
  // Abbreviations are refused: a script that relies on one breaks when an option is added.
  int const style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  po::command_line_parser parser(arguments);
  return parser.options(description).positional(positional).style(style).run();
}

po::parsed_options parse_or_explain(OptionTable const& table, std::vector<std::string> const& arguments) {
  try {
    return parse_with_boost(table, arguments);
  } catch (po::unknown_option const& error) {
    std::string const name = error.get_option_name();
    throw UsageError(fmt::format("unknown option '{}': {}", name, did_you_mean(name, spellings(table))));
  } catch (po::too_many_positional_options_error const&) {
    throw UsageError(fmt::format("too many arguments: quote names that hold spaces; usage is {}", usage_of(table)));
  } catch (po::invalid_command_line_syntax const& error) {
    bool const flag_with_value = error.kind() == po::invalid_syntax::extra_parameter;
    throw UsageError(
        fmt::format("{} {}", spelled(table, error.get_option_name()),
                    flag_with_value ? "takes no value: remove what follows '='" : "has no value: give one after it"));
  } catch (po::error const& error) {
    throw UsageError(fmt::format("{}: usage is {}", error.what(), usage_of(table)));
  }
}

bool repeats(OptionTable const& table, std::string const& name) {
  return std::any_of(table.begin(), table.end(),
                     [&](OptionSpec const& option) { return option.repeats && option.name == name; });
}

void require_all(OptionTable const& table, std::map<std::string, std::string> const& values) {
  for (OptionSpec const& option : table) {
    bool const needed = option.kind == OptionKind::required || option.kind == OptionKind::positional;
    if (!needed || values.count(option.name) != 0) continue;
    if (option.kind == OptionKind::positional) {
      throw UsageError(fmt::format("{} is missing: usage is {}", option.value_name, usage_of(table)));
    }
    throw UsageError(fmt::format("--{0} is missing: give --{0} {1}", option.name, option.value_name));
  }
}

}  // namespace

ParsedOptions parse_options(OptionTable const& table, std::vector<std::string> const& arguments) {
  std::map<std::string, std::string> values;
  for (po::option const& option : parse_or_explain(table, arguments).options) {
    std::string const value = option.value.empty() ? "1" : option.value.front();
    auto const [known, added] = values.emplace(option.string_key, value);
    if (!added && repeats(table, option.string_key)) {
      known->second += kListSeparator + value;
    } else if (!added) {
      throw UsageError(fmt::format("{} is given twice: keep one", spelled(table, option.string_key)));
    }
  }
  require_all(table, values);
  for (OptionSpec const& option : table) {
    if (!option.default_value.empty()) values.emplace(option.name, option.default_value);
  }
  return ParsedOptions(std::move(values));
}

}  // namespace switchyard::cli
