// SPDX-License-Identifier: Apache-2.0
/// OptionTable: the one list of a command's options; parsing, --help and the documentation test all read it.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::cli {

/// What a user typed is not usable. The text is "<what>: <fix>", one line, without the program's name.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class OptionKind : std::uint8_t {
  optional,    ///< --name VALUE, may be absent
  required,    ///< --name VALUE, must be present
  flag,        ///< --name
  positional,  ///< VALUE without a name, must be present
};

struct OptionSpec {
  std::string name;  ///< without dashes
  OptionKind kind = OptionKind::optional;
  std::string value_name{};     ///< how help calls the value; empty for a flag
  std::string default_value{};  ///< empty = none
  std::string help{};
  bool repeats = false;  ///< positional, the last one only: takes all remaining values, see ParsedOptions::list()
};

using OptionTable = std::vector<OptionSpec>;

/// @return `value` of option `name` as a number. @throws UsageError unless it is a decimal integer in [min, max].
[[nodiscard]] std::int64_t integer_of(std::string const& name, std::string const& value, std::int64_t min,
                                      std::int64_t max);

/// Between the values of an option that repeats: no file name and no argument holds it.
inline constexpr char kListSeparator = '\0';

/// The values of one command line. Conversions name the option, the value found and the values allowed.
class ParsedOptions {
 public:
  explicit ParsedOptions(std::map<std::string, std::string> values) : values_(std::move(values)) {}

  /// @return whether the option was given or has a default.
  [[nodiscard]] bool has(std::string const& name) const { return values_.count(name) != 0; }
  /// @return the value; empty when absent.
  [[nodiscard]] std::string text(std::string const& name) const;
  /// @return the values of an option that repeats, in order.
  [[nodiscard]] std::vector<std::string> list(std::string const& name) const;
  /// @throws UsageError unless it is a decimal integer in [min, max].
  [[nodiscard]] std::int64_t integer(std::string const& name, std::int64_t min, std::int64_t max) const;
  [[nodiscard]] int small_integer(std::string const& name, int min, int max) const;
  /// @throws UsageError unless it is a finite number in [min, max].
  [[nodiscard]] double number(std::string const& name, double min, double max) const;
  /// @throws UsageError unless it is one of `choices`; suggests the nearest.
  [[nodiscard]] std::string choice(std::string const& name, std::vector<std::string> const& choices) const;

 private:
  std::map<std::string, std::string> values_;
};

/// @param arguments what follows the command's name. @throws UsageError naming the first argument at fault.
[[nodiscard]] ParsedOptions parse_options(OptionTable const& table, std::vector<std::string> const& arguments);

/// @return the option lines of a help text, one option each, defaults included.
[[nodiscard]] std::string describe_options(OptionTable const& table);
/// @return the table with what must be given first, otherwise in order.
[[nodiscard]] OptionTable usage_order(OptionTable table);
/// @return "--load FILE [--nodes N] PLAN", required ones first, in table order.
[[nodiscard]] std::string usage_of(OptionTable const& table);

/// The options that several commands share.
[[nodiscard]] OptionSpec format_option();

}  // namespace switchyard::cli
