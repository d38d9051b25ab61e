// SPDX-License-Identifier: Apache-2.0
/// Socket: an owned TCP socket that sends and receives whole frames under a deadline.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "switchyard/comm/clock.hpp"

namespace switchyard::launch {

/// The monotonic clock of this machine.
[[nodiscard]] Instant steady_now();

class Socket {
 public:
  Socket() = default;
  explicit Socket(int handle) noexcept : handle_(handle) {}
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  Socket(Socket const&) = delete;
  Socket& operator=(Socket const&) = delete;

  [[nodiscard]] int handle() const noexcept { return handle_; }
  [[nodiscard]] bool is_open() const noexcept { return handle_ >= 0; }

  /// @param port 0 lets the system choose. @throws Error{io}
  [[nodiscard]] static Socket listen_on(int port);
  /// Retries until `deadline`, because rank 0 may start later, or until `is_wanted` (may be empty) denies.
  /// @throws Error{timeout} naming the address.
  [[nodiscard]] static Socket connect_to(std::string const& host, int port, Instant deadline,
                                         std::function<bool()> const& is_wanted = {});
  [[nodiscard]] Socket accept_one() const;
  [[nodiscard]] int local_port() const;

  /// Sends a length and the bytes. @return false when the peer is gone or does not take them by `deadline`.
  bool send_frame(std::span<std::byte const> bytes, Instant deadline) const;

  /// Reads what is there without waiting, up to a whole frame. @return a frame, or nothing yet.
  [[nodiscard]] std::optional<std::vector<std::byte>> try_receive();
  /// Whether the peer has closed, or sent something that is no frame.
  [[nodiscard]] bool is_broken() const noexcept { return broken_; }
  /// Waits until there is something to read. @return false at the deadline.
  bool wait_readable(Instant deadline) const;

 private:
  int handle_ = -1;
  bool broken_ = false;
  std::vector<std::byte> inbox_;
};

}  // namespace switchyard::launch
