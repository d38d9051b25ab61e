// SPDX-License-Identifier: Apache-2.0
/// TensorRT-LLM statistics. Input that does not look like safetensors is taken as (header length, header, data).
#include <algorithm>

#include "fuzz/load_checks.hpp"
#include "support/torch_bytes.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string const input(fuzz::as_text(data, size));
  if (size < 2 || (size > 8 && input[8] == '{' && input[7] == '\0')) {
    fuzz::check_load(input);
    return 0;
  }
  std::size_t const header = std::min<std::size_t>(data[0] + 256U * data[1], size - 2);
  fuzz::check_load(support::little(header, 8) + input.substr(2));
  return 0;
}
