// SPDX-License-Identifier: Apache-2.0
/// Loads of any format, told apart by content as in production.
#include "fuzz/load_checks.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  fuzz::check_load(fuzz::as_text(data, size));
  return 0;
}
