// SPDX-License-Identifier: Apache-2.0
#include "rendezvous_file.hpp"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "socket.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::launch {
namespace {

constexpr char const* kFirstWord = "switchyard-meeting-place-1";

/// @return nothing when the file does not exist or is not one that rank 0 wrote.
std::optional<MeetingPlace> place_in(std::string const& path) {
  std::ifstream file(path);
  std::string first;
  MeetingPlace place;
  file >> first >> place.host >> place.port >> place.token;
  bool const is_whole = !file.fail() && first == kFirstWord && place.port > 0 && place.port <= 65535;
  if (!is_whole) return std::nullopt;
  return place;
}

}  // namespace

void write_meeting_place(std::string const& path, MeetingPlace const& place) {
  std::string const temporary = fmt::format("{}.{}.new", path, place.token);
  {
    std::ofstream file(temporary);
    file << kFirstWord << '\n' << place.host << '\n' << place.port << '\n' << place.token << '\n';
    file.flush();
    SWITCHYARD_REQUIRE(file.good(), io, "{}: rank 0 cannot write the meeting place: check the folder", temporary);
  }
  SWITCHYARD_REQUIRE(std::rename(temporary.c_str(), path.c_str()) == 0, io,
                     "{}: cannot be renamed to {}: check the folder", temporary, path);
}

MeetingPlace read_meeting_place(std::string const& path, Instant deadline) {
  for (;;) {
    if (auto place = place_in(path)) return *std::move(place);
    if (steady_now() >= deadline) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  SWITCHYARD_REQUIRE(!std::ifstream(path).good(), parse,
                     "{}: not a meeting place that rank 0 wrote, nor replaced by one", path);
  throw Error(
      ErrorCode::timeout,
      fmt::format("{}: rank 0 has not written its address: it was not started, or the file system is not shared",
                  path));
}

bool names_other_job(std::string const& path, std::string const& token) {
  auto const place = place_in(path);
  return place && place->token != token;
}

void remove_meeting_place(std::string const& path, std::string const& token) noexcept {
  try {
    if (!names_other_job(path, token)) (void)std::remove(path.c_str());
  } catch (...) {  // out of memory for reading it: the file stays, and readers of the next job look twice
  }
}

std::string random_token() {
  std::random_device device;
  std::string token;
  for (int word = 0; word < 4; ++word) token += fmt::format("{:08x}", device());
  return token;
}

}  // namespace switchyard::launch
