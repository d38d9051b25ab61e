// SPDX-License-Identifier: Apache-2.0
/// Entry point of the CLI.
#include <fmt/format.h>

#include "switchyard/types/version.hpp"

int main() {
  fmt::print("switchyard {}\n", SWITCHYARD_VERSION_STRING);
  return 0;
}
