// SPDX-License-Identifier: Apache-2.0
/// The control channel of a group: a server beside rank 0 and a client in every rank. Ranks compare each call over it
/// before data moves, hear of failures at once, and notice a peer that died because its connection breaks.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/launch/call_note.hpp"
#include "switchyard/launch/launch_config.hpp"

namespace switchyard::launch {

/// Serves one group from a thread of its own until every rank has ended or the object dies.
class ControlServer {
 public:
  /// @param port 0 lets the system choose. @param token what clients must say, so that strays are refused.
  /// @param blob what every rank is told on arrival, e.g. an NCCL unique id.
  /// @param all_here called once from the server's thread, when every rank has come or the server ends (may be empty);
  /// does not throw. @throws Error{io}
  ControlServer(int world_size, int port, std::string token, std::vector<std::byte> blob,
                std::function<void()> all_here = {});
  ~ControlServer();
  ControlServer(ControlServer const&) = delete;
  ControlServer& operator=(ControlServer const&) = delete;
  [[nodiscard]] int port() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// One rank's end. Calls belong to one thread; abort() and fail() may come from any.
class ControlClient {
 public:
  /// Connects and introduces itself; waits for rank 0 until `deadline` from now.
  /// @param is_wanted asked while nobody answers (may be empty): `false` ends the wait before the deadline.
  /// @throws Error{timeout} naming the address, Error{desync} when the server refuses this rank (another world size,
  ///         another job, a rank that is taken).
  ControlClient(std::string const& host, int port, std::string const& token, int rank, int world_size,
                Duration deadline, std::function<bool()> const& is_wanted = {});
  /// Tells the others that this rank makes no more calls.
  ~ControlClient();
  ControlClient(ControlClient const&) = delete;
  ControlClient& operator=(ControlClient const&) = delete;

  [[nodiscard]] int rank() const noexcept;
  [[nodiscard]] int world_size() const noexcept;
  /// What rank 0 shares.
  [[nodiscard]] std::vector<std::byte> const& blob() const noexcept;

  /// Checksums of the messages that this rank receives, [ranks][messages]; empty without CheckLevel::full.
  using Checksums = std::vector<std::vector<std::uint64_t>>;
  /// Waits until all ranks have posted a note and agree. @return the checksums when data moves now, nothing when the
  /// round has ended. @throws Error as Communicator documents; Error{out_of_memory} on every rank when a note carries a
  /// refusal, after which the group goes on.
  std::optional<Checksums> meet(CallNote const& note, Duration deadline);
  /// Says that this rank has its data, waits for the others.
  void finish(Duration deadline);
  /// @throws the group's error if there is one by now. Does not wait.
  void throw_if_failed();
  /// Whether this rank knows of a failure of the group: no call can succeed any more.
  [[nodiscard]] bool has_failed() const noexcept;
  /// Work that ranks did not compare ended in no time, and nobody knows whose fault it is. Ranks that wait for the same
  /// call meet here for two seconds when their deadlines pass; returns when all ranks are there.
  /// @throws Error{timeout} naming who does not come, or the group's error
  void call_roll(CallNote const& after);
  /// Tells the group that the rank's data did not come in time and throws what the group agrees on.
  [[noreturn]] void expire(double seconds);

  /// Fails the group for all ranks; the first reason stays.
  void fail(ErrorCode code, std::string const& text) noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Brings the group together: rank 0 starts the server, every rank connects. Where the meeting place is a shared file,
/// rank 0 leaves its address there and removes it when all ranks have come; a file that an older job left behind is
/// read again until rank 0 has replaced it.
struct ControlGroup {
  std::unique_ptr<ControlServer> server;  ///< rank 0 only
  std::unique_ptr<ControlClient> client;
};
/// @param make_blob called on rank 0. @throws as ControlClient.
[[nodiscard]] ControlGroup join_group(LaunchConfig const& config, std::vector<std::byte> (*make_blob)(),
                                      Duration deadline);

}  // namespace switchyard::launch
