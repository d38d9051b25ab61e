// SPDX-License-Identifier: Apache-2.0
// What doctor says of the launch and of the host: who this process is, where ranks meet, limits, shared memory.
#include <fmt/format.h>

#include "cli/table.hpp"
#include "commands/doctor_findings.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::cli {
namespace {

using enum FindingLevel;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr std::int64_t kSmallShm = 64 * kMiB;  ///< what containers get unless told otherwise
constexpr std::int64_t kEnoughShm = 1024 * kMiB;
constexpr std::uint64_t kFewFiles = 1024;
constexpr std::uint64_t kEnoughFiles = 65536;

Finding meeting_finding(launch::LaunchConfig const& config, MeetingState state) {
  std::string const at = fmt::format("{}:{}", config.host, config.port);
  switch (state) {
    case MeetingState::unresolved:
      return {fail, "meeting", fmt::format("{} has no address", config.host),
              "correct MASTER_ADDR (or the variable that names the place), or the name service of this host"};
    case MeetingState::port_free: return {ok, "meeting", fmt::format("this is rank 0 and {} is free", at), ""};
    case MeetingState::port_taken:
      return {fail, "meeting", fmt::format("this is rank 0 and port {} is taken", config.port),
              "end the program that holds it (perhaps an earlier run), or choose another port on all ranks"};
    case MeetingState::reached: return {ok, "meeting", fmt::format("{} answers", at), ""};
    case MeetingState::refused:
      return {warn, "meeting", fmt::format("{} is reachable, nobody listens yet", at),
              "start rank 0; ranks wait for it until their deadline"};
    case MeetingState::silent:
      return {fail, "meeting", fmt::format("{} does not answer", at),
              "look at routes and firewalls between the hosts; does MASTER_ADDR name the right interface?"};
    case MeetingState::none: break;
  }
  return {ok, "meeting",
          config.file.empty() ? "one process: none is needed" : fmt::format("through the file {}", config.file), ""};
}

Finding shm_finding(DoctorFacts const& facts) {
  constexpr char kAdvice[] = "give containers more (--shm-size=16g, or --ipc=host)";
  if (!facts.shm_found)
    return {warn, "shared memory", "/dev/shm is missing: ranks of one host cannot share memory", "mount a tmpfs there"};
  std::string const found =
      fmt::format("/dev/shm has {} free of {}", human_bytes(facts.shm_free), human_bytes(facts.shm_total));
  if (facts.shm_free < kSmallShm) return {fail, "shared memory", found, kAdvice};
  if (facts.shm_free < kEnoughShm) return {warn, "shared memory", found, kAdvice};
  return {ok, "shared memory", found, ""};
}

Finding memlock_finding(DoctorFacts const& facts) {
  if (!facts.locked_memory_limit) return {ok, "limits", "locked memory is unlimited", ""};
  return {
      warn, "limits",
      fmt::format("locked memory is limited to {}", human_bytes(static_cast<std::int64_t>(*facts.locked_memory_limit))),
      "ulimit -l unlimited (LimitMEMLOCK in Slurm's unit): InfiniBand registers memory"};
}

Finding files_finding(DoctorFacts const& facts) {
  if (!facts.open_files_limit) return {ok, "limits", "open files are unlimited", ""};
  std::string const found = fmt::format("{} open files", *facts.open_files_limit);
  if (*facts.open_files_limit < kFewFiles)
    return {fail, "limits", found, "ulimit -n 65536: NCCL and the control channel need a descriptor per peer"};
  if (*facts.open_files_limit < kEnoughFiles)
    return {warn, "limits", found, "ulimit -n 65536 for groups of hundreds of ranks"};
  return {ok, "limits", found, ""};
}

}  // namespace

void judge_launch(DoctorFacts const& facts, std::vector<Finding>& findings) {
  try {
    launch::LaunchConfig const config = launch::launch_config({}, facts.environment);
    findings.push_back({ok, "launch",
                        config.source == "none" ? "one process, no launcher's variables"
                                                : fmt::format("{}: rank {} of {}, local rank {}", config.source,
                                                              config.rank, config.world_size, config.local_rank),
                        ""});
    findings.push_back(meeting_finding(config, facts.meeting));
  } catch (Error const& error) {
    findings.push_back({fail, "launch", std::string(error.message()), "correct what started this process"});
  }
}

void judge_host(DoctorFacts const& facts, std::vector<Finding>& findings) {
  findings.push_back(facts.host_resolves
                         ? Finding{ok, "host", fmt::format("{} resolves", facts.host_name), ""}
                         : Finding{warn, "host", fmt::format("'{}' has no address", facts.host_name),
                                   "add it to /etc/hosts or the name service: launchers pass names on to other ranks"});
  findings.push_back(shm_finding(facts));
  findings.push_back(memlock_finding(facts));
  findings.push_back(files_finding(facts));
  findings.push_back({ok, "libraries", facts.libraries, ""});
}

}  // namespace switchyard::cli
