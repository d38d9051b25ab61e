// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/in_process_group.hpp"

#include <vector>

#include "posting.hpp"
#include "rendezvous.hpp"
#include "switchyard/cpu/split_calls.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {
namespace {

/// A call between its halves. `under_way` belongs to the communicator, which refuses other calls meanwhile.
class StartedExchange final : public StartedCall {
 public:
  StartedExchange(Rendezvous& rendezvous, RankId rank, bool& under_way)
      : rendezvous_(rendezvous), rank_(rank), under_way_(under_way) {}
  StartedExchange(StartedExchange const&) = delete;
  StartedExchange& operator=(StartedExchange const&) = delete;
  ~StartedExchange() override {
    if (finished_) return;
    under_way_ = false;
    rendezvous_.abandon(rank_);
  }
  /// A step of its own: once a posting is out, nothing may fail before there is an object that stands for it.
  void start(Posting posting, Duration deadline) {
    ticket_ = rendezvous_.post(rank_, std::move(posting), deadline);
    finished_ = false;
    under_way_ = true;
  }
  void finish() override {
    SWITCHYARD_REQUIRE(!finished_, invalid_argument, "rank {} finishes a started call twice", rank_.value());
    finished_ = true;
    under_way_ = false;
    rendezvous_.complete(rank_, ticket_);
  }

 private:
  Rendezvous& rendezvous_;
  RankId rank_;
  Rendezvous::Ticket ticket_{};
  bool& under_way_;
  bool finished_ = true;
};

/// One rank's view of the group: numbers its calls and puts them into a posting.
class InProcessCommunicator final : public Communicator, public PeerMemory, public SplitCalls {
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

  [[nodiscard]] std::unique_ptr<StartedCall> start_all_to_all_v(std::span<std::byte const> send,
                                                                std::span<std::int64_t const> send_bytes,
                                                                std::span<std::byte> receive,
                                                                std::span<std::int64_t const> receive_bytes,
                                                                CallOptions const& options) override {
    Posting posting = open(CallKind::all_to_all_v, options);
    fill_all_to_all_v(posting, size(), send, send_bytes, receive, receive_bytes);
    auto started = std::make_unique<StartedExchange>(rendezvous_, rank_, under_way_);
    started->start(std::move(posting), deadline_of(options));
    return started;
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
    SWITCHYARD_REQUIRE(!under_way_, invalid_argument,
                       "rank {} calls {} while a call that it has started is under way: finish that one first",
                       rank_.value(), to_string(kind));
    return Posting{.kind = kind,
                   .sequence = next_sequence_++,
                   .configuration = options.configuration,
                   .operation = std::string(options.operation)};
  }
  void meet(Posting posting, CallOptions const& options) {
    rendezvous_.meet(rank_, std::move(posting), deadline_of(options));
  }
  [[nodiscard]] Duration deadline_of(CallOptions const& options) const {
    return options.deadline.value_or(rendezvous_.options().default_deadline);
  }

  Rendezvous& rendezvous_;
  RankId rank_;
  std::int64_t next_sequence_ = 0;
  bool under_way_ = false;  ///< a started call has not been finished
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
