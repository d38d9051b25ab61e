// SPDX-License-Identifier: Apache-2.0
/// The shared file in which rank 0 leaves its address for the others.
#pragma once

#include <string>

#include "switchyard/comm/clock.hpp"

namespace switchyard::launch {

/// What a server says to a client that brings another token; a reader of a shared file then looks into it again.
inline constexpr char const* kOtherJob =
    "this is another job's meeting place: start ranks of one job with one address, and old jobs' ranks not at all";

struct MeetingPlace {
  std::string host;
  int port = 0;
  std::string token;
};

/// Writes under a temporary name and renames, so that nobody reads half a file. @throws Error{io}
void write_meeting_place(std::string const& path, MeetingPlace const& place);
/// Waits for a file that rank 0 wrote; it may be an older job's. @throws Error{timeout}, Error{parse} at the deadline
[[nodiscard]] MeetingPlace read_meeting_place(std::string const& path, Instant deadline);
/// Whether the file holds another token by now.
[[nodiscard]] bool names_other_job(std::string const& path, std::string const& token);
/// Removes the file if it holds this token: a newer job may have replaced it.
void remove_meeting_place(std::string const& path, std::string const& token) noexcept;

/// @return 32 hexadecimal digits that no other job has.
[[nodiscard]] std::string random_token();

}  // namespace switchyard::launch
