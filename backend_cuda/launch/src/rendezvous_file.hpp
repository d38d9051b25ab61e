// SPDX-License-Identifier: Apache-2.0
/// The shared file in which rank 0 leaves its address for the others.
#pragma once

#include <string>

#include "switchyard/comm/clock.hpp"

namespace switchyard::launch {

struct MeetingPlace {
  std::string host;
  int port = 0;
  std::string token;
};

/// Writes under a temporary name and renames, so that nobody reads half a file. @throws Error{io}
void write_meeting_place(std::string const& path, MeetingPlace const& place);
/// Waits for the file. A file that an older job left behind names a place where nobody answers, or another token;
/// delete it before the start. @throws Error{timeout}, Error{parse}
[[nodiscard]] MeetingPlace read_meeting_place(std::string const& path, Instant deadline);

/// @return 32 hexadecimal digits that no other job has.
[[nodiscard]] std::string random_token();
[[nodiscard]] std::string this_host();

}  // namespace switchyard::launch
