// SPDX-License-Identifier: Apache-2.0
#include <poll.h>

#include <atomic>
#include <chrono>
#include <list>
#include <thread>
#include <utility>

#include "control_round.hpp"
#include "rendezvous_file.hpp"
#include "socket.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/launch/control.hpp"

namespace switchyard::launch {
namespace {

constexpr auto kSendTime = std::chrono::seconds(10);
constexpr auto kHelloTime = std::chrono::seconds(10);
/// How long the server outlives rank 0 so that the others hear that it ended, and not that a connection broke.
constexpr auto kLeaveTime = std::chrono::seconds(5);
constexpr int kPollMilliseconds = 100;
constexpr std::size_t kMaxStrangers = 4096;

/// A connection that has not said who it is, or has.
struct Peer {
  Socket socket;
  int rank = -1;
  Instant since{};
};

}  // namespace

struct ControlServer::State {
  State(int ranks, int port, std::string job, std::vector<std::byte> shared, std::function<void()> when_all_here)
      : world_size(ranks),
        token(std::move(job)),
        blob(std::move(shared)),
        all_here(std::move(when_all_here)),
        listener(Socket::listen_on(port)),
        round(ranks),
        bound_port(listener.local_port()) {}

  void run() {
    do {
      wait();
      drop_late_strangers();
      for (Peer& peer : peers) read(peer);
      peers.remove_if([](Peer const& peer) { return !peer.socket.is_open(); });
      send_replies();
    } while (!round.all_ended() && !must_leave());
    say_all_here();
  }

  bool must_leave() {
    if (!stop.load()) return false;
    if (!leave_by) leave_by = steady_now() + kLeaveTime;
    return steady_now() >= *leave_by;
  }

  void say_all_here() {
    if (all_here) std::exchange(all_here, {})();
  }

  void wait() {
    std::vector<pollfd> handles{{listener.handle(), POLLIN, 0}};
    for (Peer const& peer : peers) handles.push_back({peer.socket.handle(), POLLIN, 0});
    (void)::poll(handles.data(), handles.size(), kPollMilliseconds);
    if ((handles.front().revents & POLLIN) == 0) return;
    Socket accepted = listener.accept_one();
    if (accepted.is_open() && peers.size() < kMaxStrangers + static_cast<std::size_t>(world_size))
      peers.push_back(Peer{std::move(accepted), -1, steady_now()});
  }

  void drop_late_strangers() {
    peers.remove_if([](Peer const& peer) { return peer.rank < 0 && steady_now() - peer.since > kHelloTime; });
  }

  void read(Peer& peer) {
    try {
      while (auto const frame = peer.socket.try_receive()) {
        FrameReader reader(*frame);
        if (peer.rank < 0) {
          greet(peer, reader);
        } else {
          handle(peer.rank, reader);
        }
      }
    } catch (Error const& error) {
      if (peer.rank >= 0) round.on_fail({error.code(), std::string(error.message())});
      peer.socket = Socket();
      return;
    }
    if (!peer.socket.is_broken()) return;
    if (peer.rank >= 0) round.on_lost(peer.rank);
    peer.socket = Socket();
  }

  void greet(Peer& peer, FrameReader& reader) {
    std::string problem;
    if (reader.type() != FrameType::hello || reader.get_text() != token) {
      problem = kOtherJob;
    } else {
      std::int64_t const rank = reader.get_i64();
      std::int64_t const size = reader.get_i64();
      problem = problem_with(rank, size);
      if (problem.empty()) peer.rank = static_cast<int>(rank);
    }
    Instant const deadline = steady_now() + kSendTime;
    if (!problem.empty()) {
      (void)peer.socket.send_frame(failure_frame(FrameType::failed, {ErrorCode::desync, problem}), deadline);
      peer.socket = Socket();
      return;
    }
    FrameWriter welcome(FrameType::welcome);
    welcome.put_blob(blob);
    (void)peer.socket.send_frame(welcome.bytes(), deadline);
    if (++greeted == world_size) say_all_here();
  }

  [[nodiscard]] std::string problem_with(std::int64_t rank, std::int64_t size) const {
    if (size != world_size || rank < 0 || rank >= world_size)
      return fmt::format("rank 0 counts {} ranks, this process says it is rank {} of {}: start all with one world size",
                         world_size, rank, size);
    for (Peer const& peer : peers)
      if (peer.rank == rank) return fmt::format("rank {} is here already: two processes have one rank number", rank);
    return {};
  }

  void handle(int rank, FrameReader& reader) {
    switch (reader.type()) {
      case FrameType::note: return round.on_note(rank, note_of(reader, world_size));
      case FrameType::done: return round.on_done(rank);
      case FrameType::expired: return round.on_expired(rank, static_cast<double>(reader.get_i64()) * 1e-6);
      case FrameType::fail: return round.on_fail(failure_of(reader));
      case FrameType::ended: return round.on_ended(rank);
      default: throw Error(ErrorCode::parse, fmt::format("rank {} sent a frame that only a server sends", rank));
    }
  }

  void send_replies() {
    for (Reply const& reply : round.take_replies())
      for (Peer const& peer : peers)
        if (peer.rank == reply.rank) (void)peer.socket.send_frame(reply.bytes, steady_now() + kSendTime);
  }

  int world_size;
  std::string token;
  std::vector<std::byte> blob;
  std::function<void()> all_here;
  int greeted = 0;
  Socket listener;
  ControlRound round;
  std::list<Peer> peers;
  int bound_port;
  std::atomic<bool> stop{false};
  std::optional<Instant> leave_by;
  std::thread thread;
};

ControlServer::ControlServer(int world_size, int port, std::string token, std::vector<std::byte> blob,
                             std::function<void()> all_here)
    : state_(std::make_unique<State>(world_size, port, std::move(token), std::move(blob), std::move(all_here))) {
  State* const state = state_.get();
  state->thread = std::thread([state] { state->run(); });
}

ControlServer::~ControlServer() {
  state_->stop.store(true);
  state_->thread.join();
}

int ControlServer::port() const noexcept {
  return state_->bound_port;
}

}  // namespace switchyard::launch
