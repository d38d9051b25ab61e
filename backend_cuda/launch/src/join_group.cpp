// SPDX-License-Identifier: Apache-2.0
// How the ranks of a group find each other: at an address, or through a shared file.
#include <chrono>
#include <thread>
#include <utility>

#include "rendezvous_file.hpp"
#include "socket.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/launch/control.hpp"

namespace switchyard::launch {
namespace {

constexpr char const* kThisHost = "127.0.0.1";

std::unique_ptr<ControlClient> connect(LaunchConfig const& config, MeetingPlace const& place, Instant last) {
  return std::make_unique<ControlClient>(place.host, place.port, place.token, config.rank, config.world_size,
                                         last - steady_now());
}

/// Rank 0: the server, and a client beside it.
ControlGroup serve(LaunchConfig const& config, std::vector<std::byte> blob, Instant last) {
  ControlGroup group;
  bool const by_file = !config.file.empty();
  std::string const token = by_file ? random_token() : "";
  std::function<void()> all_here;
  if (by_file) all_here = [path = config.file, token] { remove_meeting_place(path, token); };
  group.server =
      std::make_unique<ControlServer>(config.world_size, config.port, token, std::move(blob), std::move(all_here));
  int const port = group.server->port();
  if (by_file) write_meeting_place(config.file, {config.world_size > 1 ? this_host() : kThisHost, port, token});
  group.client = connect(config, {kThisHost, port, token}, last);
  return group;
}

/// Whether the server at the place that a file names belongs to the job that wrote it, and refuses this rank.
bool is_final(Error const& error) {
  return error.code() == ErrorCode::desync && error.message() != kOtherJob;
}

/// The file may be an older job's, whose port nobody has now, or somebody else: it is read again until rank 0 of this
/// job has replaced it.
std::unique_ptr<ControlClient> join_by_file(LaunchConfig const& config, Instant last) {
  for (;;) {
    MeetingPlace const place = read_meeting_place(config.file, last);
    try {
      return std::make_unique<ControlClient>(place.host, place.port, place.token, config.rank, config.world_size,
                                             last - steady_now(),
                                             [&] { return !names_other_job(config.file, place.token); });
    } catch (Error const& error) {
      if (is_final(error)) throw;
      if (steady_now() >= last)
        throw Error(error.code(),
                    fmt::format("{} names {}:{}: {}; an older job may have left the file there, and rank 0 "
                                "of this one was not started",
                                config.file, place.host, place.port, error.message()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

ControlGroup join_group(LaunchConfig const& config, std::vector<std::byte> (*make_blob)(), Duration deadline) {
  Instant const last = deadline_after(steady_now(), deadline);
  if (config.rank == 0) return serve(config, make_blob(), last);
  ControlGroup group;
  group.client =
      config.file.empty() ? connect(config, {config.host, config.port, ""}, last) : join_by_file(config, last);
  return group;
}

}  // namespace switchyard::launch
