// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <mutex>
#include <utility>

#include "frame.hpp"
#include "socket.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/launch/control.hpp"

namespace switchyard::launch {
namespace {

constexpr auto kSendTime = std::chrono::seconds(10);
/// How long the server may take to say why a round failed after a deadline passed.
constexpr auto kVerdictTime = std::chrono::seconds(5);

constexpr char const* kLostServer =
    "the control server of rank 0 does not answer: its process died, was stopped or was killed; look at rank 0's "
    "output, then restart the group";

}  // namespace

struct ControlClient::State {
  Socket socket;
  int rank = 0;
  int world_size = 1;
  std::vector<std::byte> blob;
  std::optional<GroupFailure> failure;
  std::string last_call;  ///< whose answer this rank waited for last
  std::mutex sending;

  bool send(std::vector<std::byte> const& bytes) {
    std::lock_guard const lock(sending);
    return socket.send_frame(bytes, steady_now() + kSendTime);
  }

  [[noreturn]] void throw_failure() const { throw Error(failure->code, failure->text); }

  [[noreturn]] void lose_server() {
    failure = GroupFailure{ErrorCode::aborted, last_call.empty() ? kLostServer : last_call + ": " + kLostServer};
    throw_failure();
  }

  /// @return a frame that is there, or nothing. A failure throws.
  std::optional<std::vector<std::byte>> next_frame() {
    auto frame = socket.try_receive();
    if (!frame && socket.is_broken()) lose_server();
    if (!frame) return std::nullopt;
    FrameReader reader(*frame);
    if (reader.type() != FrameType::failed) return frame;
    failure = failure_of(reader);
    throw_failure();
  }

  std::optional<std::vector<std::byte>> wait_frame(Instant deadline, std::function<bool()> const& is_wanted = {}) {
    for (;;) {
      if (auto frame = next_frame()) return frame;
      if (steady_now() >= deadline || (is_wanted && !is_wanted())) return std::nullopt;
      (void)socket.wait_readable(deadline);
    }
  }

  /// The frame that ends a wait; on expiry the group's common error.
  std::vector<std::byte> verdict(Duration deadline) {
    if (auto frame = wait_frame(deadline_after(steady_now(), deadline))) return std::move(*frame);
    expire(std::chrono::duration<double>(deadline).count());
  }

  [[noreturn]] void expire(double seconds) {
    FrameWriter writer(FrameType::expired);
    writer.put_i64(static_cast<std::int64_t>(seconds * 1e6));
    (void)send(writer.bytes());
    Instant const last = steady_now() + kVerdictTime;
    while (steady_now() < last) static_cast<void>(wait_frame(last));  // a late go or complete changes nothing
    lose_server();
  }
};

ControlClient::ControlClient(std::string const& host, int port, std::string const& token, int rank, int world_size,
                             Duration deadline, std::function<bool()> const& is_wanted)
    : state_(std::make_unique<State>()) {
  Instant const last = deadline_after(steady_now(), deadline);
  state_->rank = rank;
  state_->world_size = world_size;
  state_->socket = Socket::connect_to(host, port, last, is_wanted);
  FrameWriter hello(FrameType::hello);
  hello.put_text(token);
  hello.put_i64(rank);
  hello.put_i64(world_size);
  (void)state_->send(hello.bytes());
  auto const frame = state_->wait_frame(last, is_wanted);
  SWITCHYARD_REQUIRE(frame.has_value(), timeout, "rank 0 at {}:{} does not greet rank {}: its process is stuck", host,
                     port, rank);
  FrameReader reader(*frame);
  SWITCHYARD_REQUIRE(reader.type() == FrameType::welcome, parse, "{}:{} is no control server", host, port);
  state_->blob = reader.get_blob();
}

ControlClient::~ControlClient() {
  try {
    (void)state_->send(FrameWriter(FrameType::ended).bytes());
  } catch (...) {  // out of memory for one byte: the broken connection says the same
  }
}

int ControlClient::rank() const noexcept {
  return state_->rank;
}
int ControlClient::world_size() const noexcept {
  return state_->world_size;
}
std::vector<std::byte> const& ControlClient::blob() const noexcept {
  return state_->blob;
}

std::optional<ControlClient::Checksums> ControlClient::meet(CallNote const& note, Duration deadline) {
  throw_if_failed();
  state_->last_call = note.label();
  (void)state_->send(frame_of(note));  // a peer that is gone shows in the answer
  auto const frame = state_->verdict(deadline);
  FrameReader reader(frame);
  if (reader.type() == FrameType::complete) return std::nullopt;
  if (reader.type() == FrameType::refused) {
    GroupFailure const refusal = failure_of(reader);
    throw Error(refusal.code, refusal.text);
  }
  SWITCHYARD_REQUIRE(reader.type() == FrameType::go, parse, "the control server answers a note with frame {}",
                     static_cast<int>(reader.type()));
  Checksums sums(static_cast<std::size_t>(state_->world_size));
  for (auto& list : sums) {
    list.resize(reader.get_count(sizeof(std::uint64_t)));
    for (std::uint64_t& sum : list) sum = reader.get_u64();
  }
  return sums;
}

void ControlClient::finish(Duration deadline) {
  (void)state_->send(FrameWriter(FrameType::done).bytes());
  auto const frame = state_->verdict(deadline);
  FrameReader const reader(frame);
  SWITCHYARD_REQUIRE(reader.type() == FrameType::complete, parse, "the control server ends a round with frame {}",
                     static_cast<int>(reader.type()));
}

void ControlClient::throw_if_failed() {
  if (state_->failure) state_->throw_failure();
  static_cast<void>(state_->next_frame());  // between notes the server speaks only of failures
}

void ControlClient::call_roll(CallNote const& after) {
  constexpr auto kRollTime = std::chrono::seconds(2);
  CallNote note;
  note.sequence = after.sequence;
  note.operation = "roll call after " + after.label();
  note.check = CheckLevel::off;
  note.single_phase = true;
  try {
    static_cast<void>(meet(note, kRollTime));
  } catch (Error const& error) {
    if (error.code() != ErrorCode::desync) throw;  // all are there, some of them in a later call
  }
}

bool ControlClient::has_failed() const noexcept {
  return state_->failure.has_value();
}

void ControlClient::expire(double seconds) {
  state_->expire(seconds);
}

void ControlClient::fail(ErrorCode code, std::string const& text) noexcept {
  try {
    (void)state_->send(failure_frame(FrameType::fail, {code, text}));
  } catch (...) {  // no memory for the text: the connection that breaks with this process says enough
  }
}

}  // namespace switchyard::launch
