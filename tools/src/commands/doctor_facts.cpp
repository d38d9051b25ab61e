// SPDX-License-Identifier: Apache-2.0
#include "commands/doctor_facts.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "switchyard/types/error.hpp"

extern char** environ;  // POSIX: the only list of all variables

namespace switchyard::cli {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses resolve(char const* host, int port, bool to_listen) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = to_listen ? AI_PASSIVE : 0;
  addrinfo* found = nullptr;
  if (getaddrinfo(host, std::to_string(port).c_str(), &hints, &found) != 0) found = nullptr;
  return {found, &freeaddrinfo};
}

class Handle {
 public:
  explicit Handle(addrinfo const& address)
      : value_(::socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address.ai_protocol)) {}
  ~Handle() {
    if (value_ >= 0) ::close(value_);
  }
  Handle(Handle const&) = delete;
  Handle& operator=(Handle const&) = delete;
  [[nodiscard]] int get() const { return value_; }

 private:
  int value_;
};

/// @return the error of a connection attempt: 0 = somebody listens, ETIMEDOUT = no answer in time.
int connect_error(addrinfo const& address, int connect_ms) {
  Handle const handle(address);
  if (::connect(handle.get(), address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd waiting{handle.get(), POLLOUT, 0};
  if (::poll(&waiting, 1, connect_ms) <= 0) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(handle.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

MeetingState call(launch::LaunchConfig const& config, int connect_ms) {
  auto const addresses = resolve(config.host.c_str(), config.port, false);
  if (!addresses) return MeetingState::unresolved;
  auto state = MeetingState::silent;
  for (auto const* it = addresses.get(); it != nullptr; it = it->ai_next) {
    int const error = connect_error(*it, connect_ms);
    if (error == 0) return MeetingState::reached;
    if (error == ECONNREFUSED) state = MeetingState::refused;
  }
  return state;
}

/// Listens as the control channel does, with the address reused after a closed connection.
MeetingState listen_there(launch::LaunchConfig const& config) {
  if (!resolve(config.host.c_str(), config.port, false)) return MeetingState::unresolved;
  auto const addresses = resolve(nullptr, config.port, true);
  for (auto const* it = addresses.get(); it != nullptr; it = it->ai_next) {
    Handle const handle(*it);
    int const on = 1;
    static_cast<void>(::setsockopt(handle.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    if (::bind(handle.get(), it->ai_addr, it->ai_addrlen) == 0 && ::listen(handle.get(), 1) == 0)
      return MeetingState::port_free;
  }
  return MeetingState::port_taken;
}

launch::Variables all_variables() {
  launch::Variables variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    std::string const text = *entry;
    auto const equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return variables;
}

std::optional<std::uint64_t> limit_of(__rlimit_resource resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limit.rlim_cur;
}

std::vector<std::string> interface_names() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return {};
  std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> const owned(list, &freeifaddrs);
  std::vector<std::string> names;
  for (auto const* it = list; it != nullptr; it = it->ifa_next) names.emplace_back(it->ifa_name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

void gather_shared_memory(DoctorFacts& facts) {
  struct statvfs disk {};
  facts.shm_found = ::statvfs("/dev/shm", &disk) == 0;
  if (!facts.shm_found) return;
  facts.shm_total = static_cast<std::int64_t>(disk.f_blocks * disk.f_frsize);
  facts.shm_free = static_cast<std::int64_t>(disk.f_bavail * disk.f_frsize);
}

/// A launch that is refused has no address to try; the judgement says why.
MeetingState meeting_of(launch::Variables const& environment, int connect_ms) {
  try {
    return probe_meeting(launch::launch_config({}, environment), connect_ms);
  } catch (Error const&) {
    return MeetingState::none;
  }
}

std::string library_versions() {
  std::string text = fmt::format("fmt {}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100);
  return text + fmt::format(", {}", SWITCHYARD_DOCTOR_LIBRARIES);
}

}  // namespace

MeetingState probe_meeting(launch::LaunchConfig const& config, int connect_ms) {
  if (config.world_size == 1 || config.host.empty()) return MeetingState::none;
  return config.rank == 0 ? listen_there(config) : call(config, connect_ms);
}

DoctorFacts gather_facts(int connect_ms) {
  DoctorFacts facts;
  facts.gpu = gather_gpu_facts();
  facts.environment = all_variables();
  gather_shared_memory(facts);
  facts.locked_memory_limit = limit_of(RLIMIT_MEMLOCK);
  facts.open_files_limit = limit_of(RLIMIT_NOFILE);
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) == 0) facts.host_name = name.data();
  facts.host_resolves = !facts.host_name.empty() && resolve(facts.host_name.c_str(), 1, false) != nullptr;
  facts.interfaces = interface_names();
  facts.meeting = meeting_of(facts.environment, connect_ms);
  facts.libraries = library_versions();
  return facts;
}

}  // namespace switchyard::cli
