// SPDX-License-Identifier: Apache-2.0
/// CSV loads. Line ends and blanks around cells must not matter.
#include "fuzz/load_checks.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const text = fuzz::as_text(data, size);
  auto const read = fuzz::check_load(text);
  if (!read || read->format != switchyard::io::LoadFormat::csv) return 0;
  std::string dressed;
  for (char const c : text) {
    if (c == '\n') dressed += " \r";
    if (c == ',') dressed += '\t';
    dressed += c;
    if (c == '\n') dressed += "\n";
  }
  auto const again = switchyard::io::parse_expert_load(dressed + "\n \n", "in", 0);
  fuzz::require(again.load == read->load, "blanks change the load");
  return 0;
}
