// SPDX-License-Identifier: Apache-2.0
// The control channel between real processes: ranks that meet through a shared file, a rank that is killed, one that is
// stopped, strangers at the door.
//
// By hand, 3 processes: rank 1 raises SIGKILL before call 2; ranks 0 and 2 have completed two barriers and get
// `aborted` with "the connection to rank 1 broke".
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
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

/// Runs `body` in one process per rank. @return the exit codes; a killed process counts as -signal.
std::vector<int> run_processes(std::function<int(launch::ControlClient&)> const& body) {
  std::string const path = fresh_path();
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
  std::remove(path.c_str());
  return codes;
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
      return expect_failure(client, 2, ErrorCode::aborted, "the control server of rank 0", std::chrono::seconds(20), 1);
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
