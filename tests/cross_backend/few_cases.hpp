// SPDX-License-Identifier: Apache-2.0
/// Whether a GPU test program runs under a slow tool: SWITCHYARD_CASES=n asks for n seeds and few cases.
#pragma once

#include <cstdlib>

namespace cross_backend {

inline bool takes_few_cases() {
  return std::getenv("SWITCHYARD_CASES") != nullptr;
}

/// @return the seeds asked for, else `all`
inline int seeds_or(int all) {
  char const* const asked = std::getenv("SWITCHYARD_CASES");
  return asked != nullptr ? std::atoi(asked) : all;
}

}  // namespace cross_backend
