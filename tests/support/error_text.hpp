// SPDX-License-Identifier: Apache-2.0
/// error_text: what a refusal said, so that a test can look for the parts that people need.
#pragma once

#include <string>
#include <string_view>

#include "switchyard/types/error.hpp"

namespace support {

/// @return the message of the Error{code} that `call` throws; otherwise a text that no expectation matches.
template <typename Call>
std::string error_text(switchyard::ErrorCode code, Call const& call) {
  try {
    (void)call();
  } catch (switchyard::Error const& error) {
    if (error.code() == code) return std::string(error.message());
    return "<another code: " + std::string(error.what()) + ">";
  }
  return "<no error>";
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace support
