// SPDX-License-Identifier: Apache-2.0
/// SGLang recordings. Input that is no zip archive is taken as (pickle length, pickle, storage 0, storage 1), so that
/// the fuzzer reaches the pickle and the tensors without guessing checksums.
#include <algorithm>

#include "fuzz/load_checks.hpp"
#include "support/torch_bytes.hpp"
#include "switchyard/io/placement_formats.hpp"

namespace {

void check_map(std::string const& file) {
  using switchyard::io::parse_placement;
  for (int const ranks : {1, 3})
    (void)fuzz::attempt([&] { return parse_placement({file, "in", 0, ranks}); }, {switchyard::ErrorCode::parse});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string const input(fuzz::as_text(data, size));
  if (size < 2 || input.starts_with("PK")) {
    fuzz::check_load(input);
    return 0;
  }
  std::size_t const pickle = std::min<std::size_t>(data[0] + 256U * data[1], size - 2);
  std::string const storages = input.substr(2 + pickle);
  std::size_t const half = storages.size() / 8 * 4;
  std::string const file =
      support::torch_file(input.substr(2, pickle), {storages.substr(0, half), storages.substr(half)});
  fuzz::check_load(file);
  check_map(file);
  return 0;
}
