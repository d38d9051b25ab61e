// SPDX-License-Identifier: Apache-2.0
// The control channel between real processes: ranks that meet through a shared file (also an old one), a rank that is
// killed, one that does not come, one without memory, strangers at the door, a port that is taken.
//
// By hand, 3 processes: rank 1 raises SIGKILL before call 2; ranks 0 and 2 have completed two barriers and get
// `aborted` with "the connection to rank 1 broke".
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/error_text.hpp"
#include "switchyard/launch/control.hpp"

using namespace switchyard;

namespace {

constexpr int kRanks = 3;

std::vector<std::byte> shared_blob() {
  return std::vector<std::byte>(128, std::byte{0x5a});
}

/// A path that no file has.
std::string fresh_path() {
  return "/tmp/switchyard-launch-" + std::to_string(::getpid()) + "-" + std::to_string(std::rand());
}

launch::CallNote barrier(int call) {
  launch::CallNote note;
  note.sequence = call;
  note.single_phase = true;
  note.operation = "step";
  return note;
}

/// Runs `body` in one process per rank, which find `left_behind` in their shared file. @return the exit codes; a killed
/// process counts as -signal.
std::vector<int> run_processes(std::function<int(launch::ControlClient&)> const& body,
                               std::string const& left_behind = {}) {
  std::string const path = fresh_path();
  if (!left_behind.empty()) std::ofstream(path) << left_behind;
  std::vector<pid_t> children;
  for (int rank = 0; rank < kRanks; ++rank) {
    pid_t const child = ::fork();
    REQUIRE(child >= 0);
    if (child > 0) {
      children.push_back(child);
      continue;
    }
    int code = 99;
    try {
      if (rank == 0 && !left_behind.empty()) ::usleep(100'000);  // the others read the old file meanwhile
      launch::LaunchConfig config;
      config.rank = rank;
      config.world_size = kRanks;
      config.file = path;
      auto const group = launch::join_group(config, shared_blob, std::chrono::seconds(20));
      code = group.client->blob() == shared_blob() ? body(*group.client) : 98;
    } catch (std::exception const& error) {
      std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
    }
    ::_exit(code);
  }
  std::vector<int> codes;
  for (pid_t const child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    codes.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
  }
  bool const is_left = std::ifstream(path).good();
  CHECK_FALSE(is_left);  // removed when all ranks had come
  std::remove(path.c_str());
  return codes;
}

/// A socket that listens and never answers.
struct SilentListener {
  /// @param wanted 0 lets the system choose; the port is 0 when it is taken.
  explicit SilentListener(int wanted = 0) : handle(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    address.sin_port = htons(static_cast<std::uint16_t>(wanted));
    socklen_t length = sizeof address;
    bool const has_port = ::bind(handle, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                          ::listen(handle, 16) == 0 &&
                          ::getsockname(handle, reinterpret_cast<sockaddr*>(&address), &length) == 0;
    if (has_port) port = ntohs(address.sin_port);
  }
  ~SilentListener() { ::close(handle); }
  SilentListener(SilentListener const&) = delete;
  SilentListener& operator=(SilentListener const&) = delete;
  int handle;
  int port = 0;
};

/// A whole job of one rank, in a process of its own: this one may fork only while it has no threads.
struct OtherJob {
  OtherJob() {
    int ports[2] = {};
    int ends[2] = {};
    REQUIRE((::pipe(ports) == 0 && ::pipe(ends) == 0));
    child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) ::_exit(serve(ports[1], ends));
    end = ends[1];
    ::close(ends[0]);
    ::close(ports[1]);
    CHECK(::read(ports[0], &port, sizeof port) == sizeof port);
    ::close(ports[0]);
  }
  ~OtherJob() {
    ::close(end);
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child);
  }
  OtherJob(OtherJob const&) = delete;
  OtherJob& operator=(OtherJob const&) = delete;
  int port = 0;

 private:
  /// Until the other end of the pipe is closed.
  static int serve(int port_to, int const (&ends)[2]) {
    ::close(ends[1]);
    launch::ControlServer const server(1, 0, "its token", {});
    launch::ControlClient const client("127.0.0.1", server.port(), "its token", 0, 1, std::chrono::seconds(20));
    int const bound = server.port();
    char nothing = 0;
    return ::write(port_to, &bound, sizeof bound) == sizeof bound && ::read(ends[0], &nothing, 1) == 0 ? 0 : 1;
  }
  pid_t child = 0;
  int end = 0;
};

/// Listens on a port after which one is free.
std::unique_ptr<SilentListener> listener_before_a_free_port() {
  for (int port = 21000; port < 32000; port += 7) {
    auto listener = std::make_unique<SilentListener>(port);
    if (listener->port != 0 && SilentListener(port + 1).port != 0) return listener;
  }
  return nullptr;
}

std::string old_file(int port) {
  return "switchyard-meeting-place-1\n127.0.0.1\n" + std::to_string(port) + "\nan-older-job\n";
}

int two_barriers(launch::ControlClient& client) {
  for (int call = 0; call < 2; ++call) static_cast<void>(client.meet(barrier(call), std::chrono::seconds(20)));
  return 0;
}

launch::LaunchConfig torchrun(int rank, int port, char const* agent_has_store) {
  return launch::launch_config({}, {{"RANK", std::to_string(rank)},
                                    {"WORLD_SIZE", "2"},
                                    {"LOCAL_RANK", std::to_string(rank)},
                                    {"MASTER_ADDR", "127.0.0.1"},
                                    {"MASTER_PORT", std::to_string(port)},
                                    {"TORCHELASTIC_RUN_ID", "none"},
                                    {"TORCHELASTIC_USE_AGENT_STORE", agent_has_store}});
}

/// Barriers until the group fails. @return 0 when it fails after `calls`, or up to `unanswered` before, with the code
/// and a text that holds `part`.
int expect_failure(launch::ControlClient& client, int calls, ErrorCode code, std::string const& part, Duration deadline,
                   int unanswered = 0) {
  int done = 0;
  try {
    for (; done < 100; ++done) static_cast<void>(client.meet(barrier(done), deadline));
  } catch (Error const& error) {
    bool const right = done <= calls && done >= calls - unanswered && error.code() == code &&
                       std::string(error.what()).find(part) != std::string::npos;
    if (!right) std::fprintf(stderr, "rank %d after %d calls: %s\n", client.rank(), done, error.what());
    return right ? 0 : 1;
  }
  return 2;
}

}  // namespace

TEST_CASE("processes meet through a file and agree") {
  auto const codes = run_processes([](launch::ControlClient& client) {
    for (int call = 0; call < 50; ++call)
      if (client.meet(barrier(call), std::chrono::seconds(20))) return 1;
    return 0;
  });
  CHECK(codes == std::vector<int>{0, 0, 0});
}

TEST_CASE("a killed process ends the others with a typed error that names it") {
  auto const codes = run_processes([](launch::ControlClient& client) {
    if (client.rank() != 1)
      return expect_failure(client, 2, ErrorCode::aborted, "the connection to rank 1 broke", std::chrono::seconds(20));
    for (int call = 0; call < 2; ++call) static_cast<void>(client.meet(barrier(call), std::chrono::seconds(20)));
    static_cast<void>(std::raise(SIGKILL));
    return 3;
  });
  CHECK(codes == std::vector<int>{0, -SIGKILL, 0});
}

TEST_CASE("when rank 0 is killed the others say that its server is gone") {
  auto const codes = run_processes([](launch::ControlClient& client) {
    if (client.rank() != 0)
      // Rank 0 may know that a barrier is complete, and die, before its server has told the others.
      return expect_failure(client, 2, ErrorCode::aborted, "\"step\": the control server of rank 0",
                            std::chrono::seconds(20), 1);
    for (int call = 0; call < 2; ++call) static_cast<void>(client.meet(barrier(call), std::chrono::seconds(20)));
    static_cast<void>(std::raise(SIGKILL));
    return 3;
  });
  CHECK(codes == std::vector<int>{-SIGKILL, 0, 0});
}

TEST_CASE("a rank that never comes is named when the deadline passes") {
  auto const codes = run_processes([](launch::ControlClient& client) {
    if (client.rank() != 2)
      return expect_failure(client, 1, ErrorCode::timeout, "; missing: rank", std::chrono::milliseconds(200));
    static_cast<void>(client.meet(barrier(0), std::chrono::seconds(20)));
    // Waits for the group's failure instead of making call 1.
    try {
      for (;;) {
        client.throw_if_failed();
        ::usleep(1000);
      }
    } catch (Error const& error) {
      return error.code() == ErrorCode::timeout ? 0 : 1;
    }
  });
  CHECK(codes == std::vector<int>{0, 0, 0});
}

TEST_CASE("a file that an older job left behind is read again until rank 0 has replaced it") {
  int free_port = 0;
  {
    SilentListener const gone;
    free_port = gone.port;
  }
  CHECK(run_processes(two_barriers, old_file(free_port)) == std::vector<int>{0, 0, 0});  // nobody answers
  SilentListener const deaf;
  CHECK(run_processes(two_barriers, old_file(deaf.port)) == std::vector<int>{0, 0, 0});  // somebody else has the port
  OtherJob const other;
  CHECK(run_processes(two_barriers, old_file(other.port)) == std::vector<int>{0, 0, 0});  // another job has it
  CHECK(run_processes(two_barriers, "no meeting place") == std::vector<int>{0, 0, 0});
}

TEST_CASE("an old file that nobody replaces is named when the deadline passes") {
  std::string const path = fresh_path();
  OtherJob const other;
  std::ofstream(path) << old_file(other.port);
  launch::LaunchConfig config;
  config.rank = 1;
  config.world_size = 2;
  config.file = path;
  auto const text = support::error_text(ErrorCode::desync, [&] {
    static_cast<void>(launch::join_group(config, shared_blob, std::chrono::milliseconds(200)));
  });
  CHECK(support::contains(text, path + " names 127.0.0.1:"));
  CHECK(support::contains(text, "an older job may have left the file there"));
  std::remove(path.c_str());
}

TEST_CASE("under torchrun the port of the agent's store is left alone") {
  auto const store = listener_before_a_free_port();
  REQUIRE(store != nullptr);
  auto const taken = support::error_text(ErrorCode::io, [&] {
    static_cast<void>(launch::join_group(torchrun(0, store->port, "False"), shared_blob, std::chrono::seconds(20)));
  });
  CHECK(support::contains(taken, "rank 0 cannot listen on port " + std::to_string(store->port)));
  auto const first = launch::join_group(torchrun(0, store->port, "True"), shared_blob, std::chrono::seconds(20));
  CHECK(first.server->port() == store->port + 1);
  auto const second = launch::join_group(torchrun(1, store->port, "True"), shared_blob, std::chrono::seconds(20));
  std::thread other([&] { static_cast<void>(second.client->meet(barrier(0), std::chrono::seconds(20))); });
  CHECK_FALSE(first.client->meet(barrier(0), std::chrono::seconds(20)).has_value());
  other.join();
}

TEST_CASE("a rank without memory calls one call off for all, and the group goes on") {
  auto const codes = run_processes([](launch::ControlClient& client) {
    static_cast<void>(client.meet(barrier(0), std::chrono::seconds(20)));
    launch::CallNote note = barrier(1);
    if (client.rank() == 1) note.refusal = "no 12 bytes";
    try {
      static_cast<void>(client.meet(note, std::chrono::seconds(20)));
      return 1;
    } catch (Error const& error) {
      bool const right = error.code() == ErrorCode::out_of_memory &&
                         support::contains(std::string(error.message()),
                                           "barrier #1 \"step\": rank 1 could not take part: no 12 bytes");
      if (!right || client.has_failed()) return 2;
    }
    static_cast<void>(client.meet(barrier(2), std::chrono::seconds(20)));
    return 0;
  });
  CHECK(codes == std::vector<int>{0, 0, 0});
}

TEST_CASE("a roll call after a deadline names who does not come") {
  auto const codes = run_processes([](launch::ControlClient& client) {
    launch::CallNote const after = barrier(7);
    client.call_roll(after);  // all come: nobody is to blame
    try {
      if (client.rank() != 2) client.call_roll(after);
      for (;;) {
        client.throw_if_failed();
        ::usleep(1000);
      }
    } catch (Error const& error) {
      std::string const text(error.message());
      bool const right = error.code() == ErrorCode::timeout && support::contains(text, "roll call after barrier #7") &&
                         support::contains(text, "missing: rank 2");
      return right ? 0 : 1;
    }
  });
  CHECK(codes == std::vector<int>{0, 0, 0});
}

TEST_CASE("strangers are refused and disturb nobody") {
  launch::ControlServer server(1, 0, "this job", {});
  auto const join = [&](std::string const& token, int rank, int size) {
    return support::error_text(ErrorCode::desync, [&] {
      launch::ControlClient client("127.0.0.1", server.port(), token, rank, size, std::chrono::seconds(20));
    });
  };
  CHECK(support::contains(join("another job", 0, 1), "another job's meeting place"));
  CHECK(support::contains(join("this job", 0, 2), "rank 0 counts 1 ranks, this process says it is rank 0 of 2"));
  CHECK(support::contains(join("this job", -1, 1), "rank -1 of 1"));
  launch::ControlClient client("127.0.0.1", server.port(), "this job", 0, 1, std::chrono::seconds(20));
  CHECK(support::contains(join("this job", 0, 1), "rank 0 is here already"));
  CHECK_FALSE(client.meet(barrier(0), std::chrono::seconds(20)).has_value());
}
