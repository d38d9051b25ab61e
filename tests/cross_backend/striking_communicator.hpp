// SPDX-License-Identifier: Apache-2.0
/// StrikingCommunicator: hands every call on, and lets something happen to this rank behind one of them.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "switchyard/comm/communicator.hpp"

namespace cross_backend {

class StrikingCommunicator final : public switchyard::Communicator {
 public:
  /// @param inner outlives this object. @param call what `strike` follows, counted from 1
  StrikingCommunicator(switchyard::Communicator& inner, int call, std::function<void()> strike)
      : inner_(inner), left_(call), strike_(std::move(strike)) {}

  [[nodiscard]] switchyard::RankId rank() const noexcept override { return inner_.rank(); }
  [[nodiscard]] int size() const noexcept override { return inner_.size(); }
  void barrier(switchyard::CallOptions const& options) override {
    inner_.barrier(options);
    count();
  }
  void all_gather_v(std::span<std::byte const> send, std::span<std::byte> receive,
                    std::span<std::int64_t const> receive_bytes, switchyard::CallOptions const& options) override {
    inner_.all_gather_v(send, receive, receive_bytes, options);
    count();
  }
  void all_to_all_v(std::span<std::byte const> send, std::span<std::int64_t const> send_bytes,
                    std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes,
                    switchyard::CallOptions const& options) override {
    inner_.all_to_all_v(send, send_bytes, receive, receive_bytes, options);
    count();
  }
  void exchange(std::span<switchyard::SendMessage const> sends, std::span<switchyard::ReceiveMessage const> receives,
                switchyard::CallOptions const& options) override {
    inner_.exchange(sends, receives, options);
    count();
  }
  void abort(std::string const& reason) noexcept override { inner_.abort(reason); }

 private:
  void count() {
    if (--left_ == 0) strike_();
  }

  switchyard::Communicator& inner_;
  int left_;
  std::function<void()> strike_;
};

}  // namespace cross_backend
