// SPDX-License-Identifier: Apache-2.0
#include "switchyard/launch/launch_config.hpp"

#include <unistd.h>

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
constexpr char const* kOtherNames[] = {"SWITCHYARD_RENDEZVOUS", "MASTER_ADDR",
                                       "MASTER_PORT",           "NCCL_COMM_ID",
                                       "SLURM_JOB_NODELIST",    "SLURM_JOB_ID",
                                       "SLURM_STEP_ID",         "TORCHELASTIC_RUN_ID",
                                       "GROUP_WORLD_SIZE",      "TORCHELASTIC_USE_AGENT_STORE"};

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
  SWITCHYARD_REQUIRE(
      !first.local_rank || !second.local_rank || first.local_rank == second.local_rank, invalid_argument,
      "{} says local rank {}, {} says local rank {}: two sources disagree about this process's device, so "
      "neither is believed; unset one of them",
      first.source, first.local_rank.value_or(0), second.source, second.local_rank.value_or(0));
}

/// Slurm or MPI may have started torchrun, once per node: their numbers are then its agents', not this process's.
bool describes_agents(Identity const& found, Variables const& environment) {
  auto const agents = number_of(environment, "GROUP_WORLD_SIZE", 1, kMaxRanks);
  return found.source != kLaunchers[0].name && environment.count("TORCHELASTIC_RUN_ID") > 0 && agents &&
         found.world_size == *agents;
}

Identity identity_of(LaunchFlags const& flags, Variables const& environment) {
  std::optional<Identity> chosen = identity_of(flags);
  for (Launcher const& launcher : kLaunchers) {
    auto const found = identity_of(launcher, environment);
    if (!found || describes_agents(*found, environment)) continue;
    if (chosen) require_agreement(*chosen, *found);
    if (!chosen) chosen = found;
    if (!chosen->local_rank) chosen->local_rank = found->local_rank;
  }
  if (!chosen) chosen = Identity{"none", 0, 1, std::nullopt};
  require_agreement({"the flag", chosen->rank, chosen->world_size, flags.local_rank}, *chosen);
  if (flags.local_rank) chosen->local_rank = flags.local_rank;
  return *chosen;
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

/// Where rank 0 listens, and who says so.
struct Place {
  std::string source;
  std::string host{};
  int port = 0;
  std::string file{};

  [[nodiscard]] bool is_at(Place const& other) const {
    return host == other.host && port == other.port && file == other.file;
  }
  [[nodiscard]] std::string text() const { return file.empty() ? fmt::format("{}:{}", host, port) : file; }
};

Place address_in(std::string const& name, std::string const& text) {
  std::size_t const colon = text.rfind(':');
  SWITCHYARD_REQUIRE(colon != std::string::npos && colon > 0, invalid_argument,
                     "{}={} is neither host:port nor file:/path: say where the ranks meet, e.g. node0:29500", name,
                     text);
  return {name, text.substr(0, colon), number_in(name, text.substr(colon + 1), 1, kMaxPort)};
}

Place place_in(std::string const& name, std::string const& text) {
  constexpr std::string_view kFile = "file:";
  if (text.rfind(kFile, 0) != 0) return address_in(name, text);
  Place place{name};
  place.file = text.substr(kFile.size());
  SWITCHYARD_REQUIRE(!place.file.empty() && place.file.front() == '/', invalid_argument,
                     "{}={}: give the shared file's absolute path", name, text);
  return place;
}

std::optional<std::string> value_of(Variables const& environment, char const* name) {
  auto const found = environment.find(name);
  if (found == environment.end()) return std::nullopt;
  return found->second;
}

void require_one_place(std::optional<Place> const& first, std::optional<Place> const& second, char const* advice) {
  SWITCHYARD_REQUIRE(!first || !second || first->is_at(*second), invalid_argument,
                     "the ranks meet at {} says {}, at {} says {}: neither is believed; {}", first->text(),
                     first->source, second->text(), second->source, advice);
}

/// What was said to this library, and to nobody else: it decides over all other places.
std::optional<Place> own_place(LaunchFlags const& flags, Variables const& environment) {
  std::optional<Place> flag;
  std::optional<Place> variable;
  if (!flags.rendezvous.empty()) flag = place_in("the flag for the rendezvous", flags.rendezvous);
  if (auto const text = value_of(environment, "SWITCHYARD_RENDEZVOUS"))
    variable = place_in("SWITCHYARD_RENDEZVOUS", *text);
  require_one_place(flag, variable, "drop one of them");
  return flag ? flag : variable;
}

std::optional<Place> master_place(Variables const& environment) {
  auto const address = value_of(environment, "MASTER_ADDR");
  auto const port = value_of(environment, "MASTER_PORT");
  if (!address && !port) return std::nullopt;
  SWITCHYARD_REQUIRE(address && port, invalid_argument, "only one of MASTER_ADDR and MASTER_PORT is set: set both");
  SWITCHYARD_REQUIRE(!address->empty(), invalid_argument, "MASTER_ADDR is empty: name the host of rank 0");
  return Place{"MASTER_ADDR and MASTER_PORT", *address, number_in("MASTER_PORT", *port, 1, kMaxPort)};
}

/// The place that the launcher or NCCL was given. Where somebody else listens on its port, the one after it is taken:
/// torchrun's agent keeps its store there, and NCCL itself answers at NCCL_COMM_ID.
std::optional<Place> shared_place(Variables const& environment) {
  auto const master = master_place(environment);
  std::optional<Place> nccl;
  if (auto const text = value_of(environment, "NCCL_COMM_ID")) nccl = address_in("NCCL_COMM_ID", *text);
  require_one_place(master, nccl, "unset one of them, or decide with SWITCHYARD_RENDEZVOUS");
  std::optional<Place> place = master ? master : nccl;
  bool const is_taken = nccl || value_of(environment, "TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
  if (!place || !is_taken) return place;
  SWITCHYARD_REQUIRE(
      place->port < kMaxPort, invalid_argument,
      "{}: the port {} belongs to torchrun's store or to NCCL, and there is none after it for the control "
      "channel: choose a smaller one, or set SWITCHYARD_RENDEZVOUS",
      place->source, place->port);
  ++place->port;
  return place;
}

std::optional<Place> slurm_place(Variables const& environment) {
  auto const nodes = value_of(environment, "SLURM_JOB_NODELIST");
  auto const job = number_of(environment, "SLURM_JOB_ID", 0, 2147483647);
  if (!nodes || !job) return std::nullopt;
  constexpr int kFirstPort = 20000;
  constexpr int kPorts = 20000;
  return Place{"Slurm", first_host(*nodes), kFirstPort + *job % kPorts};
}

void set_meeting_place(LaunchConfig& config, LaunchFlags const& flags, Variables const& environment) {
  auto place = own_place(flags, environment);
  if (!place) place = shared_place(environment);
  if (!place && config.source == "Slurm") place = slurm_place(environment);
  if (!place) return;
  config.host = place->host;
  config.port = place->port;
  config.file = place->file;
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
  std::vector<char const*> names(std::begin(kOtherNames), std::end(kOtherNames));
  for (Launcher const& launcher : kLaunchers)
    names.insert(names.end(), {launcher.rank, launcher.world_size, launcher.local_rank});
  Variables variables;
  for (char const* const name : names)
    if (char const* const value = std::getenv(name)) variables[name] = value;
  return variables;
}

std::string this_host() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "127.0.0.1";
}

}  // namespace switchyard::launch
