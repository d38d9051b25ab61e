// SPDX-License-Identifier: Apache-2.0
/// Recordings: what the ranks of somebody's dispatcher wrote down, put together from files (docs/formats/recording.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "switchyard/dispatch/recording.hpp"

namespace switchyard::cli {

/// What was recorded, by rank and call.
struct Recordings {
  std::vector<std::vector<DispatchRecording>> of_rank{};
  std::int64_t dropped_other = 0;
  std::string first_file{};
};

/// @return whether a file holds dispatch recordings: its first line that says anything does.
[[nodiscard]] bool is_dispatch_recording(std::string const& text);

/// Adds the calls of one file. @throws UsageError for a rank outside the group that the first file is of; Error{parse}.
void add_recordings(Recordings& recordings, std::string const& text, std::string const& file);

/// @return how many dispatches every rank recorded. @throws UsageError when there is none or ranks disagree.
[[nodiscard]] std::size_t number_of_calls(Recordings const& recordings);

/// @return call number `call` of all ranks.
[[nodiscard]] std::vector<DispatchRecording> call_of(Recordings const& recordings, std::size_t call);

}  // namespace switchyard::cli
