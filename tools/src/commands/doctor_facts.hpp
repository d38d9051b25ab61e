// SPDX-License-Identifier: Apache-2.0
/// DoctorFacts: everything that `switchyard doctor` judges, gathered once, so that judging is a pure function.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/cuda/system.hpp"
#include "switchyard/launch/launch_config.hpp"

namespace switchyard::cli {

/// What became of the address where ranks meet.
enum class MeetingState : std::uint8_t {
  none,        ///< one process, or a shared file: there is no address
  unresolved,  ///< the host name has no address
  port_free,   ///< rank 0 could listen
  port_taken,  ///< rank 0 could not
  reached,     ///< somebody listens already
  refused,     ///< the host answers, nobody listens yet
  silent,      ///< no answer within the time allowed
};

/// Sizes in bytes; a limit without a value is unlimited.
struct DoctorFacts {
  cuda::SystemReport gpu{};
  launch::Variables environment{};
  bool shm_found = false;  ///< /dev/shm
  std::int64_t shm_total = 0;
  std::int64_t shm_free = 0;
  std::optional<std::uint64_t> locked_memory_limit{};
  std::optional<std::uint64_t> open_files_limit{};
  std::string host_name{};
  bool host_resolves = false;
  std::vector<std::string> interfaces{};  ///< of the network
  MeetingState meeting = MeetingState::none;
  std::string libraries{};  ///< what this program was built with
};

/// Looks at this machine and process. @param connect_ms how long to wait for the meeting place's answer
[[nodiscard]] DoctorFacts gather_facts(int connect_ms);

/// Tries the address that `config` names: rank 0 as one who would listen there, others as callers.
[[nodiscard]] MeetingState probe_meeting(launch::LaunchConfig const& config, int connect_ms);

/// The part about GPUs; one implementation with the CUDA backend, one without.
[[nodiscard]] cuda::SystemReport gather_gpu_facts();

}  // namespace switchyard::cli
