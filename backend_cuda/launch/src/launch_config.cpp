// SPDX-License-Identifier: Apache-2.0
#include "switchyard/launch/launch_config.hpp"

#include <charconv>
#include <cstdlib>
#include <vector>

#include "switchyard/internal/require.hpp"

namespace switchyard::launch {
namespace {

constexpr int kMaxRanks = 1 << 20;
constexpr int kMaxPort = 65535;

/// One launcher's names for the three numbers.
struct Launcher {
  char const* name;
  char const* rank;
  char const* world_size;
  char const* local_rank;
};
constexpr Launcher kLaunchers[] = {
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"},
    {"Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
};
constexpr char const* kMeetingPlaces[] = {"SWITCHYARD_RENDEZVOUS", "MASTER_ADDR",        "MASTER_PORT",
                                          "NCCL_COMM_ID",          "SLURM_JOB_NODELIST", "SLURM_JOB_ID"};

struct Identity {
  std::string source;
  int rank;
  int world_size;
  std::optional<int> local_rank;
};

int number_in(std::string const& name, std::string const& text, int low, int high) {
  int value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  SWITCHYARD_REQUIRE(error == std::errc() && end == text.data() + text.size() && value >= low && value <= high,
                     invalid_argument, "{}={} is not a whole number from {} to {}", name, text, low, high);
  return value;
}

std::optional<int> number_of(Variables const& environment, char const* name, int low, int high) {
  auto const found = environment.find(name);
  if (found == environment.end()) return std::nullopt;
  return number_in(name, found->second, low, high);
}

void require_rank_in_world(Identity const& identity) {
  SWITCHYARD_REQUIRE(identity.rank < identity.world_size, invalid_argument,
                     "{} says rank {} of {} ranks: ranks go from 0 to {}; note that WORLD_SIZE counts processes, not "
                     "nodes",
                     identity.source, identity.rank, identity.world_size, identity.world_size - 1);
}

/// Slurm sets its variables in a shell inside an allocation too (with one task), where no srun started us.
bool is_bare_allocation(Launcher const& launcher, Identity const& identity, Variables const& environment) {
  return std::string(launcher.name) == "Slurm" && identity.world_size == 1 && environment.count("SLURM_STEP_ID") == 0;
}

std::optional<Identity> identity_of(Launcher const& launcher, Variables const& environment) {
  auto const rank = number_of(environment, launcher.rank, 0, kMaxRanks);
  auto const size = number_of(environment, launcher.world_size, 1, kMaxRanks);
  if (!rank && !size) return std::nullopt;
  SWITCHYARD_REQUIRE(rank && size, invalid_argument, "{} is set, but {} is not: set both, or neither",
                     rank ? launcher.rank : launcher.world_size, rank ? launcher.world_size : launcher.rank);
  Identity identity{launcher.name, *rank, *size, number_of(environment, launcher.local_rank, 0, kMaxRanks)};
  require_rank_in_world(identity);
  if (is_bare_allocation(launcher, identity, environment)) return std::nullopt;
  return identity;
}

std::optional<Identity> identity_of(LaunchFlags const& flags) {
  if (!flags.rank && !flags.world_size) return std::nullopt;
  SWITCHYARD_REQUIRE(flags.rank && flags.world_size, invalid_argument,
                     "only one of the flags for rank and number of ranks is given: give both, or neither");
  SWITCHYARD_REQUIRE(*flags.rank >= 0 && *flags.world_size >= 1 && *flags.world_size <= kMaxRanks, invalid_argument,
                     "the flags say rank {} of {} ranks: a group has 1 to {} ranks, numbered from 0", *flags.rank,
                     *flags.world_size, kMaxRanks);
  Identity identity{"flags", *flags.rank, *flags.world_size, flags.local_rank};
  require_rank_in_world(identity);
  return identity;
}

void require_agreement(Identity const& first, Identity const& second) {
  SWITCHYARD_REQUIRE(first.rank == second.rank && first.world_size == second.world_size, invalid_argument,
                     "{} says rank {} of {}, {} says rank {} of {}: two launchers disagree, so neither is believed; "
                     "unset the variables of the one that did not start this process",
                     first.source, first.rank, first.world_size, second.source, second.rank, second.world_size);
}

Identity identity_of(LaunchFlags const& flags, Variables const& environment) {
  std::optional<Identity> chosen = identity_of(flags);
  for (Launcher const& launcher : kLaunchers) {
    auto const found = identity_of(launcher, environment);
    if (!found) continue;
    if (chosen) require_agreement(*chosen, *found);
    if (!chosen) chosen = found;
    if (!chosen->local_rank) chosen->local_rank = found->local_rank;
  }
  return chosen.value_or(Identity{"none", 0, 1, std::nullopt});
}

/// @return the first host of a Slurm node list such as "node[03-07,9],other1".
std::string first_host(std::string const& list) {
  std::size_t const bracket = list.find('[');
  std::size_t const comma = list.find(',');
  if (bracket == std::string::npos || (comma != std::string::npos && comma < bracket)) return list.substr(0, comma);
  std::size_t const end = list.find_first_of(",-]", bracket);
  SWITCHYARD_REQUIRE(end != std::string::npos, invalid_argument,
                     "SLURM_JOB_NODELIST={} has a bracket that does not close", list);
  return list.substr(0, bracket) + list.substr(bracket + 1, end - bracket - 1);
}

void set_address(LaunchConfig& config, std::string const& name, std::string const& text, int port_offset) {
  std::size_t const colon = text.rfind(':');
  SWITCHYARD_REQUIRE(colon != std::string::npos && colon > 0, invalid_argument,
                     "{}={} is neither host:port nor file:/path: say where the ranks meet, e.g. node0:29500", name,
                     text);
  config.host = text.substr(0, colon);
  config.port = number_in(name, text.substr(colon + 1), 1, kMaxPort - port_offset) + port_offset;
}

void set_place(LaunchConfig& config, std::string const& name, std::string const& text) {
  constexpr std::string_view kFile = "file:";
  if (text.rfind(kFile, 0) != 0) return set_address(config, name, text, 0);
  config.file = text.substr(kFile.size());
  SWITCHYARD_REQUIRE(!config.file.empty() && config.file.front() == '/', invalid_argument,
                     "{}={}: give the shared file's absolute path", name, text);
}

void set_slurm_place(LaunchConfig& config, Variables const& environment) {
  auto const nodes = environment.find("SLURM_JOB_NODELIST");
  auto const job = number_of(environment, "SLURM_JOB_ID", 0, 2147483647);
  if (config.source != "Slurm" || nodes == environment.end() || !job) return;
  constexpr int kFirstPort = 20000;
  constexpr int kPorts = 20000;
  config.host = first_host(nodes->second);
  config.port = kFirstPort + *job % kPorts;
}

void set_meeting_place(LaunchConfig& config, LaunchFlags const& flags, Variables const& environment) {
  auto const given = [&](char const* name) { return environment.find(name) != environment.end(); };
  if (!flags.rendezvous.empty()) return set_place(config, "rendezvous", flags.rendezvous);
  if (given("SWITCHYARD_RENDEZVOUS"))
    return set_place(config, "SWITCHYARD_RENDEZVOUS", environment.at("SWITCHYARD_RENDEZVOUS"));
  if (given("MASTER_ADDR") || given("MASTER_PORT")) {
    SWITCHYARD_REQUIRE(given("MASTER_ADDR") && given("MASTER_PORT"), invalid_argument,
                       "only one of MASTER_ADDR and MASTER_PORT is set: set both");
    config.host = environment.at("MASTER_ADDR");
    SWITCHYARD_REQUIRE(!config.host.empty(), invalid_argument, "MASTER_ADDR is empty: name the host of rank 0");
    config.port = number_in("MASTER_PORT", environment.at("MASTER_PORT"), 1, kMaxPort);
    return;
  }
  if (given("NCCL_COMM_ID")) return set_address(config, "NCCL_COMM_ID", environment.at("NCCL_COMM_ID"), 1);
  set_slurm_place(config, environment);
}

}  // namespace

LaunchConfig launch_config(LaunchFlags const& flags, Variables const& environment) {
  Identity const identity = identity_of(flags, environment);
  LaunchConfig config;
  config.rank = identity.rank;
  config.world_size = identity.world_size;
  config.source = identity.source;
  config.local_rank = identity.local_rank.value_or(identity.rank);
  SWITCHYARD_REQUIRE(config.local_rank >= 0, invalid_argument, "the local rank {} is negative", config.local_rank);
  set_meeting_place(config, flags, environment);
  SWITCHYARD_REQUIRE(config.world_size == 1 || !config.host.empty() || !config.file.empty(), invalid_argument,
                     "rank {} of {} does not know where the ranks meet: set MASTER_ADDR and MASTER_PORT, NCCL_COMM_ID, "
                     "or SWITCHYARD_RENDEZVOUS to host:port or file:/shared/path",
                     config.rank, config.world_size);
  return config;
}

Variables launch_environment() {
  std::vector<char const*> names(std::begin(kMeetingPlaces), std::end(kMeetingPlaces));
  names.push_back("SLURM_STEP_ID");
  for (Launcher const& launcher : kLaunchers)
    names.insert(names.end(), {launcher.rank, launcher.world_size, launcher.local_rank});
  Variables variables;
  for (char const* const name : names)
    if (char const* const value = std::getenv(name)) variables[name] = value;
  return variables;
}

}  // namespace switchyard::launch
