// SPDX-License-Identifier: Apache-2.0
/// npy loads. Input that does not start like an npy file is taken as (version, dictionary length, dictionary,
/// elements), so that the fuzzer reaches the dictionary and the shape without guessing lengths.
#include <algorithm>

#include "fuzz/load_checks.hpp"
#include "support/npy_bytes.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const input = fuzz::as_text(data, size);
  if (size < 2) return 0;
  if (data[0] == 0x93) {
    fuzz::check_load(input);
    return 0;
  }
  std::size_t const dict_bytes = std::min<std::size_t>(data[1], size - 2);
  std::string const header = support::npy_header(input.substr(2, dict_bytes), 1 + data[0] % 3);
  auto const read = fuzz::check_load(header + std::string(input.substr(2 + dict_bytes)));
  if (!read) return 0;
  auto const& load = read->load;
  std::size_t const elements = size - 2 - dict_bytes;
  fuzz::require(elements % load.values().size() == 0 && elements / load.values().size() <= 8,
                "elements that do not fit");
  return 0;
}
