// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/in_process_group.hpp"

#include <vector>

#include "posting.hpp"
#include "rendezvous.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {
namespace {

/// One rank's view of the group: numbers its calls and puts them into a posting.
class InProcessCommunicator final : public Communicator, public PeerMemory {
 public:
  InProcessCommunicator(Rendezvous& rendezvous, RankId rank) : rendezvous_(rendezvous), rank_(rank) {}

  [[nodiscard]] RankId rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return rendezvous_.size(); }

  void barrier(CallOptions const& options) override { meet(open(CallKind::barrier, options), options); }

  void all_gather_v(std::span<std::byte const> send, std::span<std::byte> receive,
                    std::span<std::int64_t const> receive_bytes, CallOptions const& options) override {
    Posting posting = open(CallKind::all_gather_v, options);
    fill_all_gather_v(posting, size(), send, receive, receive_bytes);
    meet(std::move(posting), options);
  }

  void all_to_all_v(std::span<std::byte const> send, std::span<std::int64_t const> send_bytes,
                    std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes,
                    CallOptions const& options) override {
    Posting posting = open(CallKind::all_to_all_v, options);
    fill_all_to_all_v(posting, size(), send, send_bytes, receive, receive_bytes);
    meet(std::move(posting), options);
  }

  void exchange(std::span<SendMessage const> sends, std::span<ReceiveMessage const> receives,
                CallOptions const& options) override {
    Posting posting = open(CallKind::exchange, options);
    fill_exchange(posting, size(), sends, receives);
    meet(std::move(posting), options);
  }

  void read_peers(std::span<std::byte const> published, std::span<std::int64_t const> peer_bytes, Reader const& read,
                  CallOptions const& options) override {
    Posting posting = open(CallKind::read_peers, options);
    fill_read_peers(posting, size(), published, peer_bytes, read);
    meet(std::move(posting), options);
  }
  [[nodiscard]] bool allows_reads() const noexcept override { return rendezvous_.options().check != CheckLevel::full; }

  void abort(std::string const& reason) noexcept override {
    try {
      rendezvous_.fail(ErrorCode::aborted, fmt::format("rank {} called abort: {}", rank_.value(), reason));
    } catch (...) {  // out of memory for the text: a shorter one that needs none
      try {
        rendezvous_.fail(ErrorCode::aborted, {});
      } catch (...) {
      }
    }
  }

 private:
  Posting open(CallKind kind, CallOptions const& options) {
    return Posting{.kind = kind,
                   .sequence = next_sequence_++,
                   .configuration = options.configuration,
                   .operation = std::string(options.operation)};
  }
  void meet(Posting posting, CallOptions const& options) {
    rendezvous_.meet(rank_, std::move(posting), options.deadline.value_or(rendezvous_.options().default_deadline));
  }

  Rendezvous& rendezvous_;
  RankId rank_;
  std::int64_t next_sequence_ = 0;
};

int require_ranks(int num_ranks) {
  SWITCHYARD_REQUIRE(num_ranks >= 1, invalid_argument, "a group of {} ranks: a group has at least 1", num_ranks);
  return num_ranks;
}

}  // namespace

struct InProcessGroup::State {
  State(Scheduler& scheduler, int num_ranks, GroupOptions const& options, FaultHook* faults)
      : rendezvous(scheduler, require_ranks(num_ranks), options, faults) {
    communicators.reserve(static_cast<std::size_t>(num_ranks));
    for (int r = 0; r < num_ranks; ++r) communicators.emplace_back(rendezvous, RankId(r));
  }
  Rendezvous rendezvous;
  std::vector<InProcessCommunicator> communicators;
};

InProcessGroup::InProcessGroup(Scheduler& scheduler, int num_ranks, GroupOptions const& options)
    : InProcessGroup(scheduler, num_ranks, options, nullptr) {}
InProcessGroup::InProcessGroup(Scheduler& scheduler, int num_ranks, GroupOptions const& options, FaultHook* faults)
    : state_(std::make_unique<State>(scheduler, num_ranks, options, faults)) {}
InProcessGroup::~InProcessGroup() = default;

int InProcessGroup::size() const noexcept {
  return state_->rendezvous.size();
}

Communicator& InProcessGroup::communicator(RankId rank) {
  SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.value() < size(), invalid_argument,
                     "there is no rank {} in a group with ranks 0-{}", rank.value(), size() - 1);
  return state_->communicators[rank.index()];
}

void InProcessGroup::rank_ended(RankId rank) {
  state_->rendezvous.rank_ended(rank);
}

void InProcessGroup::rank_failed(RankId rank, std::string const& reason) {
  state_->rendezvous.fail(ErrorCode::aborted, fmt::format("rank {} failed: {}", rank.value(), reason));
}

}  // namespace switchyard::cpu
