// SPDX-License-Identifier: Apache-2.0
/// SWITCHYARD_REQUIRE: a caller's mistake becomes an Error with values in its text. For .cpp files only (fmt).
#pragma once

#include <fmt/format.h>

#include "switchyard/types/error.hpp"

/// Throws Error{ErrorCode::code} with the formatted text unless `cond` holds. Checked in every build type.
#define SWITCHYARD_REQUIRE(cond, code, ...)                                                                   \
  do {                                                                                                        \
    if (!(cond))                                                                                              \
      ::switchyard::throw_error(::switchyard::ErrorCode::code, fmt::format(__VA_ARGS__), __FILE__, __LINE__); \
  } while (false)
