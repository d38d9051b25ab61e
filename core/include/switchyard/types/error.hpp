// SPDX-License-Identifier: Apache-2.0
/// Error: the only exception type the library throws on purpose. The code is API, the text is for people.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace switchyard {

/// What went wrong, by who can fix it. Append only: the numbers are part of the C ABI and of exit messages.
enum class ErrorCode {
  invalid_argument,   ///< a value the caller passed is outside its documented range
  shape_mismatch,     ///< two shapes, lengths or splits that must agree do not
  invalid_placement,  ///< an expert placement breaks a rule (see PlacementViolation)
  invalid_plan,       ///< a plan breaks one of its own proofs, or was altered after it was made
  missing_source,     ///< an expert has to move but no rank holds a copy of it
  split_mismatch,     ///< one rank intends to send another number of rows than its peer expects
  desync,             ///< ranks of one group issued different operations, sequences or configurations
  timeout,            ///< a deadline passed; the text names who arrived and who did not
  aborted,            ///< another rank failed or called abort(); the text carries its reason
  corrupt_data,       ///< bytes arrived or were read back different from what was sent
  parse,              ///< a file or text does not follow its format; the text names file, offset, path, value
  io,                 ///< the operating system refused a file operation
  unsupported,        ///< a valid request that this build or version does not offer
  out_of_memory,      ///< an allocation failed; the text carries the size asked for
  cuda,               ///< a CUDA call failed
  nccl,               ///< an NCCL call failed
  internal,           ///< a bug in Switchyard: please report it
};

/// @return the code's name as spelled above, e.g. "split_mismatch"; static storage.
[[nodiscard]] std::string_view to_string(ErrorCode code) noexcept;

/// An error with a code, the text and the source line that raised it. `what()` is "<code>: <text>".
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string const& message, char const* file = __builtin_FILE(), int line = __builtin_LINE());

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  /// @return the text without the code's name.
  [[nodiscard]] std::string_view message() const noexcept;
  [[nodiscard]] char const* file() const noexcept { return file_; }
  [[nodiscard]] int line() const noexcept { return line_; }

 private:
  ErrorCode code_;
  char const* file_;
  int line_;
};

/// Throws Error out of line, so that headers stay free of message building.
[[noreturn]] void throw_error(ErrorCode code, std::string const& message, char const* file = __builtin_FILE(),
                              int line = __builtin_LINE());

}  // namespace switchyard
