// SPDX-License-Identifier: Apache-2.0
/// is_mutant(): which of the faults that tests/targets/cuda_mutants.cmake puts into the emulated kernels is on.
#pragma once

#include <cstdlib>
#include <cstring>

namespace support {

/// Whether SWITCHYARD_MUTANT names this one.
inline bool is_mutant(char const* name) {
  static char const* const chosen = std::getenv("SWITCHYARD_MUTANT");
  return chosen != nullptr && std::strcmp(chosen, name) == 0;
}

}  // namespace support
