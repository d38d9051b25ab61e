// SPDX-License-Identifier: Apache-2.0
// doctor: every judgement on facts made up here, and the program under environments made up here.
//
// Worked example: RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 and a port that this test listens on: rank 0 finds the port
// taken (fail), rank 1 finds somebody there (ok).
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "commands/doctor_findings.hpp"
#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;
namespace cli = switchyard::cli;
using cli::DoctorFacts;
using cli::FindingLevel;
using cli::MeetingState;

namespace {

/// Facts with which nothing is wrong: two GPUs, one process.
DoctorFacts healthy() {
  DoctorFacts facts;
  facts.gpu.has_cuda = true;
  facts.gpu.has_nccl = true;
  facts.gpu.architectures = "90";
  facts.gpu.driver_version = 13000;
  facts.gpu.runtime_version = 13000;
  facts.gpu.nccl_built = 22809;
  facts.gpu.nccl_loaded = 22809;
  facts.gpu.devices = {{"GPU", 9, 0, 1 << 30, true}, {"GPU", 9, 0, 1 << 30, true}};
  facts.gpu.peers = {{0, 1, true, true}, {1, 0, true, true}};
  facts.shm_found = true;
  facts.shm_total = facts.shm_free = std::int64_t{16} << 30;
  facts.host_name = "node0";
  facts.host_resolves = true;
  facts.interfaces = {"eth0", "lo"};
  return facts;
}

/// The findings of an area that are not ok, as "level: text".
std::string trouble(DoctorFacts const& facts, std::string const& area, int gpus = 0) {
  std::string text;
  for (auto const& finding : cli::diagnose(facts, gpus)) {
    if (finding.level == FindingLevel::ok) {
      CHECK(finding.advice.empty());
      continue;
    }
    CHECK_FALSE(finding.advice.empty());
    if (finding.area == area) text += std::string(to_string(finding.level)) + ": " + finding.found + "\n";
  }
  return text;
}

/// Areas with findings that are not ok.
std::string troubled_areas(DoctorFacts const& facts, int gpus = 0) {
  std::string areas;
  for (auto const& finding : cli::diagnose(facts, gpus))
    if (finding.level != FindingLevel::ok) areas += finding.area + " ";
  return areas;
}

/// Sets variables for the programs that this one starts, and takes them back.
class Environment {
 public:
  explicit Environment(std::vector<std::pair<std::string, std::string>> variables) : variables_(std::move(variables)) {
    for (auto const& [name, value] : variables_) setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (auto const& [name, value] : variables_) unsetenv(name.c_str());
  }
  Environment(Environment const&) = delete;
  Environment& operator=(Environment const&) = delete;

 private:
  std::vector<std::pair<std::string, std::string>> variables_;
};

/// A port of this machine that is listened on.
class Listener {
 public:
  Listener() : handle_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    socklen_t size = sizeof address;
    REQUIRE(::bind(handle_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(handle_, 4) == 0);
    REQUIRE(::getsockname(handle_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { ::close(handle_); }
  Listener(Listener const&) = delete;
  Listener& operator=(Listener const&) = delete;
  [[nodiscard]] int port() const { return port_; }

 private:
  int handle_;
  int port_ = 0;
};

}  // namespace

TEST_CASE("a healthy machine has no finding but ok, every area once at least") {
  auto const findings = cli::diagnose(healthy(), 2);
  CHECK(troubled_areas(healthy(), 2).empty());
  for (char const* const area : {"driver", "nccl", "gpus", "gpu", "links", "variables", "launch", "meeting", "host",
                                 "shared memory", "limits", "libraries"}) {
    CAPTURE(area);
    CHECK(std::any_of(findings.begin(), findings.end(), [&](auto const& finding) { return finding.area == area; }));
  }
}

TEST_CASE("GPUs: what is missing is a warning, and a failure for whom asked for GPUs") {
  auto facts = healthy();
  CHECK(contains(trouble(facts, "gpus", 3), "fail: 2 found, 3 asked for"));
  facts.gpu.has_cuda = false;
  CHECK(contains(trouble(facts, "gpus"), "warn: this build has no CUDA backend"));
  CHECK(contains(trouble(facts, "gpus", 1), "fail: this build"));
  facts = healthy();
  facts.gpu.driver_version = 0;
  facts.gpu.devices.clear();
  facts.gpu.peers.clear();
  facts.gpu.problem = "no CUDA-capable device is detected";
  CHECK(contains(trouble(facts, "driver"), "warn: no NVIDIA driver"));
  CHECK(contains(trouble(facts, "gpus"), "warn: 0 found; CUDA says: no CUDA-capable device is detected"));
  CHECK(contains(trouble(facts, "driver", 1), "fail"));
}

TEST_CASE("versions and compiled architectures") {
  auto facts = healthy();
  facts.gpu.driver_version = 12080;
  CHECK(contains(trouble(facts, "driver"), "fail: serves CUDA 12.8, this build needs 13.0"));
  facts.gpu.nccl_loaded = 22707;
  CHECK(contains(trouble(facts, "nccl"), "fail: 2.27.7 loaded, 2.28.9 built against"));
  facts.gpu.nccl_loaded = 22803;
  CHECK(contains(trouble(facts, "nccl"), "warn: 2.28.3 loaded"));
  facts.gpu.has_nccl = false;
  CHECK(contains(trouble(facts, "nccl"), "warn: this build has no NCCL"));
  facts.gpu.devices[1] = {"Old", 8, 0, 1 << 30, false};
  CHECK(contains(trouble(facts, "gpu"), "fail: 1: Old, compute capability 8.0, 1.0 GiB; built for 90"));
}

TEST_CASE("links are named pair by pair") {
  auto facts = healthy();
  facts.gpu.peers[0].native_atomics = false;
  CHECK(trouble(facts, "links") == "warn: direct access without native atomics (PCIe, not NVLink): 0->1\n");
  facts.gpu.peers[1] = {1, 0, false, false};
  CHECK(contains(trouble(facts, "links"), "warn: no direct access between GPUs: 1->0"));
}

TEST_CASE("variables that hurt") {
  auto facts = healthy();
  facts.environment = {{"NCCL_P2P_DISABLE", "0"}, {"NCCL_ALGO", ""}, {"NCCL_SOCKET_IFNAME", "^docker"}};
  CHECK(trouble(facts, "variables").empty());
  facts.environment = {{"NCCL_P2P_DISABLE", "1"}, {"NCCL_ALGO", "Ring"}, {"NCCL_COMM_BLOCKING", "1"}};
  auto const text = trouble(facts, "variables");
  CHECK(contains(text, "warn: NCCL_P2P_DISABLE=1"));
  CHECK(contains(text, "warn: NCCL_ALGO=Ring"));
  CHECK(contains(text, "fail: NCCL_COMM_BLOCKING=1"));
  facts.environment = {{"NCCL_SOCKET_IFNAME", "ib,eth"}};
  CHECK(trouble(facts, "variables").empty());
  facts.environment = {{"NCCL_SOCKET_IFNAME", "=eth"}};
  CHECK(contains(trouble(facts, "variables"),
                 "fail: NCCL_SOCKET_IFNAME==eth: no such interface; this host has eth0, lo"));
  facts.environment = {{"NCCL_SOCKET_IFNAME", "ib"}};
  CHECK(contains(trouble(facts, "variables"), "fail"));
  facts.environment = {{"CUDA_VISIBLE_DEVICES", ""}};
  CHECK(contains(trouble(facts, "variables"), "all GPUs are hidden"));
}

TEST_CASE("the launch and its meeting place") {
  auto facts = healthy();
  facts.environment = {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "node0"}, {"MASTER_PORT", "29500"}};
  for (auto const& [state, level] : {std::pair{MeetingState::port_free, ""},
                                     {MeetingState::reached, ""},
                                     {MeetingState::port_taken, "fail"},
                                     {MeetingState::unresolved, "fail"},
                                     {MeetingState::refused, "warn"},
                                     {MeetingState::silent, "fail"}}) {
    facts.meeting = state;
    auto const text = trouble(facts, "meeting");
    CAPTURE(text);
    CHECK(text.substr(0, 4) == level);
  }
  facts.environment["OMPI_COMM_WORLD_RANK"] = "1";
  facts.environment["OMPI_COMM_WORLD_SIZE"] = "2";
  CHECK(contains(trouble(facts, "launch"), "two launchers disagree"));
}

TEST_CASE("limits, shared memory and names of the host") {
  auto facts = healthy();
  facts.open_files_limit = 256;
  CHECK(contains(trouble(facts, "limits"), "fail: 256 open files"));
  facts.open_files_limit = 4096;
  CHECK(contains(trouble(facts, "limits"), "warn: 4096 open files"));
  facts.locked_memory_limit = 65536;
  CHECK(contains(trouble(facts, "limits"), "warn: locked memory is limited to 64.0 KiB"));
  facts.shm_free = 512 << 20;
  CHECK(contains(trouble(facts, "shared memory"), "warn: /dev/shm has 512.0 MiB free of 16.0 GiB"));
  facts.shm_free = 1 << 20;
  CHECK(contains(trouble(facts, "shared memory"), "fail"));
  facts.shm_found = false;
  CHECK(contains(trouble(facts, "shared memory"), "warn: /dev/shm is missing"));
  facts.host_resolves = false;
  CHECK(contains(trouble(facts, "host"), "warn: 'node0' has no address"));
}

TEST_CASE("the program under a launcher's variables: who listens, who calls, who contradicts") {
  CliRunner const runner;
  Listener const listener;
  std::string const port = std::to_string(listener.port());
  {
    Environment const rank0({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", port}});
    auto const result = runner.run("doctor");
    CHECK(result.exit_code == 1);
    CHECK(contains(result.out, "this is rank 0 and port " + port + " is taken"));
  }
  {
    Environment const rank1({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", port}});
    CHECK(contains(runner.run("doctor").out, "127.0.0.1:" + port + " answers"));
  }
  {
    Environment const nowhere(
        {{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "no-such-host.invalid"}, {"MASTER_PORT", port}});
    auto const result = runner.run("doctor --connect-ms 50");
    CHECK(result.exit_code == 1);
    CHECK(contains(result.out, "no-such-host.invalid has no address"));
  }
  Environment const both({{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "4"}});
  CHECK(contains(runner.run("doctor").out, "two launchers disagree"));
}

TEST_CASE("the program's forms: table, JSON, GPUs that are not there, bad usage") {
  CliRunner const runner;
  Environment const hurt({{"NCCL_SHM_DISABLE", "1"}, {"NCCL_PROTO", "LL\"\xff"}});
  auto const json = runner.run("doctor --format json");
  CHECK(json.err.empty());
  CHECK(contains(json.out, "\"schema_version\": 1"));
  CHECK(contains(json.out, "NCCL_SHM_DISABLE=1"));
  CHECK(contains(json.out, "NCCL_PROTO=LL\\\""));
  CHECK(contains(support::last_line(runner.run("doctor").out), " warn, "));
  auto const many = runner.run("doctor --gpus 1024");
  CHECK(many.exit_code == 1);
  CHECK(contains(many.out, "fail  gpus"));
  CHECK(runner.run("doctor --gpus x").exit_code == 2);
}
