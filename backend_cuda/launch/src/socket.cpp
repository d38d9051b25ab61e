// SPDX-License-Identifier: Apache-2.0
#include "socket.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "frame.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::launch {
namespace {

constexpr std::size_t kLengthBytes = 4;

/// Milliseconds for poll(), at least 1 before the deadline, at most a second so that callers look around.
int poll_time(Instant deadline) {
  auto const left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_now()).count();
  if (deadline <= steady_now()) return 0;
  return static_cast<int>(std::clamp<std::int64_t>(left, 1, 1000));
}

void set_no_delay(int handle) {
  int const on = 1;
  (void)::setsockopt(handle, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

std::unique_ptr<addrinfo, FreeAddresses> resolve(std::string const& host, int port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list) != 0) return nullptr;
  return std::unique_ptr<addrinfo, FreeAddresses>(list);
}

/// Waits for a connection that is being made. @return 0, or why it is not
int error_of_connecting(int handle, Instant deadline) {
  pollfd waiting{handle, POLLOUT, 0};
  if (::poll(&waiting, 1, poll_time(deadline)) <= 0) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof error;
  return ::getsockopt(handle, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

/// Tries every address of `host`, each for a second at most: a host that is off does not answer at all.
/// @param error why the last one was not reached
Socket try_connect(std::string const& host, int port, Instant deadline, int& error) {
  auto const addresses = resolve(host, port);
  if (addresses == nullptr) error = EHOSTUNREACH;
  for (addrinfo const* it = addresses.get(); it != nullptr; it = it->ai_next) {
    Socket socket(::socket(it->ai_family, it->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, it->ai_protocol));
    if (!socket.is_open()) continue;
    error = ::connect(socket.handle(), it->ai_addr, it->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) error = error_of_connecting(socket.handle(), deadline);
    if (error == 0) return socket;
  }
  return Socket();
}

}  // namespace

Instant steady_now() {
  return Instant(std::chrono::steady_clock::now().time_since_epoch());
}

Socket::~Socket() {
  if (handle_ >= 0) ::close(handle_);
}
Socket::Socket(Socket&& other) noexcept
    : handle_(std::exchange(other.handle_, -1)), broken_(other.broken_), inbox_(std::move(other.inbox_)) {}
Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(broken_, other.broken_);
  std::swap(inbox_, other.inbox_);
  return *this;
}

Socket Socket::listen_on(int port) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int const on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  bool const listening = socket.is_open() &&
                         ::setsockopt(socket.handle(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                         ::bind(socket.handle(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                         ::listen(socket.handle(), SOMAXCONN) == 0;
  SWITCHYARD_REQUIRE(listening, io,
                     "rank 0 cannot listen on port {}: {}; another job may use it: choose another MASTER_PORT", port,
                     std::strerror(errno));
  return socket;
}

Socket Socket::connect_to(std::string const& host, int port, Instant deadline, std::function<bool()> const& is_wanted) {
  int error = 0;
  for (;;) {
    Socket socket = try_connect(host, port, deadline, error);
    if (socket.is_open()) {
      set_no_delay(socket.handle());
      return socket;
    }
    SWITCHYARD_REQUIRE(
        steady_now() < deadline && (!is_wanted || is_wanted()), timeout,
        "no answer from rank 0 at {}:{}: it was not started, listens elsewhere, or a firewall is between "
        "(last error: {})",
        host, port, std::strerror(error));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

Socket Socket::accept_one() const {
  Socket socket(::accept4(handle_, nullptr, nullptr, SOCK_CLOEXEC));
  if (socket.is_open()) set_no_delay(socket.handle());
  return socket;
}

int Socket::local_port() const {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  if (::getsockname(handle_, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  return ntohs(address.sin_port);
}

bool Socket::send_frame(std::span<std::byte const> bytes, Instant deadline) const {
  std::vector<std::byte> message;
  auto const length = static_cast<std::uint32_t>(bytes.size());
  for (unsigned shift = 0; shift < 32; shift += 8) message.push_back(static_cast<std::byte>(length >> shift & 0xffU));
  message.insert(message.end(), bytes.begin(), bytes.end());
  for (std::size_t sent = 0; sent < message.size();) {
    ssize_t const count = ::send(handle_, message.data() + sent, message.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) {
      sent += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd waiting{handle_, POLLOUT, 0};
      if (steady_now() >= deadline) return false;
      (void)::poll(&waiting, 1, poll_time(deadline));
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

std::optional<std::vector<std::byte>> Socket::try_receive() {
  for (;;) {
    std::byte chunk[65536];
    ssize_t const count = broken_ ? 0 : ::recv(handle_, chunk, sizeof chunk, MSG_DONTWAIT);
    if (count > 0) inbox_.insert(inbox_.end(), chunk, chunk + count);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) broken_ = true;
    if (inbox_.size() >= kLengthBytes) {
      std::uint32_t length = 0;
      for (unsigned i = 0; i < kLengthBytes; ++i) length |= std::to_integer<std::uint32_t>(inbox_[i]) << (8 * i);
      if (length == 0 || length > kMaxFrameBytes) {
        broken_ = true;
        return std::nullopt;
      }
      if (inbox_.size() >= kLengthBytes + length) {
        auto const first = inbox_.begin() + kLengthBytes;
        std::vector<std::byte> frame(first, first + length);
        inbox_.erase(inbox_.begin(), first + length);
        return frame;
      }
    }
    if (count <= 0) return std::nullopt;
  }
}

bool Socket::wait_readable(Instant deadline) const {
  pollfd waiting{handle_, POLLIN, 0};
  return ::poll(&waiting, 1, poll_time(deadline)) > 0;
}

}  // namespace switchyard::launch
