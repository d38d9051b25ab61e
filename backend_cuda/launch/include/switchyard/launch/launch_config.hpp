// SPDX-License-Identifier: Apache-2.0
/// LaunchConfig: which rank of how many this process is and where the ranks meet, from flags or a launcher's variables.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace switchyard::launch {

/// Names and values, e.g. of the environment. Ordered, so that messages do not depend on chance.
using Variables = std::map<std::string, std::string>;

/// What a program's own flags say; empty fields were not given.
struct LaunchFlags {
  std::optional<int> rank{};
  std::optional<int> world_size{};
  std::optional<int> local_rank{};
  std::string rendezvous{};  ///< "host:port" or "file:/shared/path"
};

struct LaunchConfig {
  int rank = 0;
  int world_size = 1;
  int local_rank = 0;    ///< which of the visible devices, modulo their number
  std::string source{};  ///< "flags", "torchrun", "Slurm", "Open MPI", or "none" for a single process
  std::string host{};    ///< where rank 0 listens; empty when a file names it
  int port = 0;
  std::string file{};  ///< shared file in which rank 0 leaves its address; empty when host and port are known
};

/// Who this process is: flags, torchrun (RANK, WORLD_SIZE, LOCAL_RANK), Slurm (SLURM_PROCID, SLURM_NTASKS,
/// SLURM_LOCALID) and Open MPI (OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK). Sources complete each other; those that
/// disagree about rank, size or local rank are refused, never ranked silently. Slurm and Open MPI are not asked where
/// they started torchrun's agents (TORCHELASTIC_RUN_ID is set, and they count GROUP_WORLD_SIZE tasks).
/// Where ranks meet: the flag or SWITCHYARD_RENDEZVOUS decide over all others, and must agree. Else MASTER_ADDR and
/// MASTER_PORT, or NCCL_COMM_ID; where both are set they must be equal. The port after theirs is taken when somebody
/// else listens on it: NCCL, or torchrun's agent (TORCHELASTIC_USE_AGENT_STORE=True). Else, under Slurm, the first host
/// of SLURM_JOB_NODELIST and a port made from SLURM_JOB_ID.
/// @throws Error{invalid_argument} naming variable and value for anything malformed, contradictory or missing; also
///         when a world of more than one rank has no meeting place. @note pure.
[[nodiscard]] LaunchConfig launch_config(LaunchFlags const& flags, Variables const& environment);

/// The variables above that are set in this process's environment.
[[nodiscard]] Variables launch_environment();

/// @return this machine's name.
[[nodiscard]] std::string this_host();

}  // namespace switchyard::launch
