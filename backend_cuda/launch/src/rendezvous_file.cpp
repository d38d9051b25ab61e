// SPDX-License-Identifier: Apache-2.0
#include "rendezvous_file.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <thread>

#include "socket.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::launch {
namespace {

constexpr char const* kFirstWord = "switchyard-meeting-place-1";

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
    std::ifstream file(path);
    if (file.good()) {
      std::string first;
      MeetingPlace place;
      file >> first >> place.host >> place.port >> place.token;
      SWITCHYARD_REQUIRE(!file.fail() && first == kFirstWord && place.port > 0 && place.port <= 65535, parse,
                         "{}: not a meeting place that rank 0 wrote: delete it and start again", path);
      return place;
    }
    SWITCHYARD_REQUIRE(steady_now() < deadline, timeout,
                       "{}: rank 0 has not written its address: it was not started, or the file system is not shared",
                       path);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::string random_token() {
  std::random_device device;
  std::string token;
  for (int word = 0; word < 4; ++word) token += fmt::format("{:08x}", device());
  return token;
}

std::string this_host() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "127.0.0.1";
}

}  // namespace switchyard::launch
