// SPDX-License-Identifier: Apache-2.0
/// Placements of every format. What was read survives each format that can express it.
#include "fuzz/fuzz_check.hpp"
#include "switchyard/io/placement_formats.hpp"

namespace {

using switchyard::ErrorCode;
using switchyard::ExpertPlacement;
using namespace switchyard::io;

constexpr int kRoundTripUpTo = 4096;  // slots x layers: larger ones are only read

void check_round_trip(ExpertPlacement const& placement) {
  for (std::string const& format : placement_output_names()) {
    std::string written;
    try {
      written = write_placement(placement, format, 7);
    } catch (switchyard::Error const& error) {
      fuzz::require(error.code() == ErrorCode::invalid_argument, std::string("undocumented refusal ") + error.what());
      continue;
    }
    auto const again = parse_placement({written, "in", placement.num_experts(), placement.num_ranks()});
    fuzz::require(again.placement == placement, "a placement changed on its way through " + format);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string const text(fuzz::as_text(data, size));
  for (int const ranks : {0, 1, 2, 3}) {
    auto const read = fuzz::attempt(
        [&] {
          return parse_placement({text, "in", 0, ranks});
        },
        {ErrorCode::parse, ErrorCode::invalid_plan});
    if (!read) continue;
    ExpertPlacement const& placement = read->placement;
    bool const small = placement.num_layers() * std::int64_t{placement.num_slots()} <= kRoundTripUpTo;
    if (small && placement.num_layers() > 0 && placement.num_slots() > 0 && validate(placement).empty())
      check_round_trip(placement);
  }
  return 0;
}
