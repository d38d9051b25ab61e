// SPDX-License-Identifier: Apache-2.0
/// What must hold for a load however it was read.
#pragma once

#include "fuzz/fuzz_check.hpp"
#include "switchyard/io/load_reader.hpp"

namespace fuzz {

/// Larger loads (an expert id of 65,535 in a short line) are only read: writing them would eat the fuzzer's time.
inline constexpr std::size_t kRoundTripUpTo = 4096;

/// Reads `text`; an accepted load is finite, survives writing and reading, and is read alike when the expert count is
/// asked for by number. @return the load, if it was accepted.
inline std::optional<switchyard::io::LoadReadResult> check_load(std::string_view text) {
  using switchyard::ErrorCode;
  using switchyard::io::parse_expert_load;
  using switchyard::io::to_json;
  auto const read = attempt([&] { return parse_expert_load(text, "in", 0); }, {ErrorCode::parse});
  if (!read) return std::nullopt;
  for (double const load : read->load.values()) require(load >= 0 && load <= 9007199254740992.0, "a load out of range");
  if (read->load.values().size() > kRoundTripUpTo) return read;
  std::string const written = to_json(read->load);
  auto const again = parse_expert_load(written, "in", read->load.num_experts());
  require(again.load == read->load && to_json(again.load) == written, "a load changed on its way through JSON");
  require(parse_expert_load(text, "in", read->load.num_experts()).load == read->load,
          "the stated expert count matters");
  bool const counts_records = read->records > 0;  // such files do not say how many experts there are
  if (!counts_records) {
    int const wrong = read->load.num_experts() + 1;
    require(!attempt([&] { return parse_expert_load(text, "in", wrong); }, {ErrorCode::parse}), "a wrong expert count");
  }
  return read;
}

}  // namespace fuzz
