// SPDX-License-Identifier: Apache-2.0
/// A harness in which ranks agree over the control channel of switchyard::launch and copy through shared memory: the
/// protocol of NcclCommunicator without NCCL.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "message_lists.hpp"
#include "support/rank_harness.hpp"
#include "switchyard/internal/byte_checksum.hpp"
#include "switchyard/launch/control.hpp"

namespace switchyard::test {

/// Where every rank leaves the messages of its call; the control channel says when others may read them.
using MessageBoard = std::vector<cuda::MessageLists>;

class ControlledCommunicator final : public Communicator {
 public:
  ControlledCommunicator(launch::ControlClient& control, MessageBoard& board, CheckLevel check)
      : control_(control), board_(board), check_(check) {}

  [[nodiscard]] RankId rank() const noexcept override { return RankId(control_.rank()); }
  [[nodiscard]] int size() const noexcept override { return control_.world_size(); }

  void barrier(CallOptions const& options) override {
    auto note = open(launch::CallKind::barrier, options);
    note.single_phase = true;
    static_cast<void>(control_.meet(note, deadline_of(options)));
  }
  void all_gather_v(std::span<std::byte const> send, std::span<std::byte> receive,
                    std::span<std::int64_t const> receive_bytes, CallOptions const& options) override {
    auto note = open(launch::CallKind::all_gather_v, options);
    auto lists = cuda::all_gather_lists(note.label(), size(), send, receive, receive_bytes);
    run(std::move(note), std::move(lists), options);
  }
  void all_to_all_v(std::span<std::byte const> send, std::span<std::int64_t const> send_bytes,
                    std::span<std::byte> receive, std::span<std::int64_t const> receive_bytes,
                    CallOptions const& options) override {
    auto note = open(launch::CallKind::all_to_all_v, options);
    auto lists = cuda::all_to_all_lists(note.label(), size(), send, send_bytes, receive, receive_bytes);
    run(std::move(note), std::move(lists), options);
  }
  void exchange(std::span<SendMessage const> sends, std::span<ReceiveMessage const> receives,
                CallOptions const& options) override {
    auto note = open(launch::CallKind::exchange, options);
    auto lists = cuda::exchange_lists(note.label(), size(), sends, receives);
    run(std::move(note), std::move(lists), options);
  }
  void abort(std::string const& reason) noexcept override {
    control_.fail(ErrorCode::aborted, "rank " + std::to_string(control_.rank()) + " called abort: " + reason);
  }

 private:
  launch::CallNote open(launch::CallKind kind, CallOptions const& options) {
    launch::CallNote note;
    note.kind = kind;
    note.sequence = sequence_++;
    note.configuration = options.configuration;
    note.operation = std::string(options.operation);
    note.check = check_;
    return note;
  }
  static Duration deadline_of(CallOptions const& options) {
    return options.deadline.value_or(std::chrono::seconds(60));
  }
  void run(launch::CallNote note, cuda::MessageLists lists, CallOptions const& options) {
    cuda::describe(lists, note);
    board_[rank().index()] = std::move(lists);
    auto const sums = control_.meet(note, deadline_of(options));
    auto const& receives = board_[rank().index()].receives;
    for (std::size_t from = 0; from < board_.size(); ++from)
      for (std::size_t i = 0; i < receives[from].size(); ++i) {
        auto const sent = board_[from].sends[rank().index()][i];
        if (!sent.empty()) std::memcpy(receives[from][i].data(), sent.data(), sent.size());
        if (check_ == CheckLevel::full && (*sums)[from].at(i) != internal::byte_checksum(sent))
          throw std::logic_error("the checksum that travelled is not the message's");
      }
    control_.finish(deadline_of(options));
  }

  launch::ControlClient& control_;
  MessageBoard& board_;
  CheckLevel check_;
  std::int64_t sequence_ = 0;
};

class ControlHarness final : public RankHarness {
 public:
  [[nodiscard]] std::string name() const override { return "control channel"; }

  std::vector<RankEnd> run(int num_ranks, CheckLevel check, std::function<void(Communicator&)> const& body) override {
    launch::ControlServer server(num_ranks, 0, "conformance", {});
    MessageBoard board(static_cast<std::size_t>(num_ranks));
    std::vector<RankEnd> ends(board.size());
    std::vector<std::thread> threads;
    for (int rank = 0; rank < num_ranks; ++rank)
      threads.emplace_back(
          [&, rank] { ends[static_cast<std::size_t>(rank)] = run_rank(server.port(), rank, board, check, body); });
    for (std::thread& thread : threads) thread.join();
    return ends;
  }
  void update(std::function<void()> const& change) override {
    std::lock_guard const lock(mutex_);
    change();
    changed_.notify_all();
  }
  void wait_for(std::function<bool()> const& condition) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, condition);
  }
  [[nodiscard]] Duration short_deadline() const override { return Duration::zero(); }
  [[nodiscard]] bool virtual_time() const override { return false; }

 private:
  static RankEnd run_rank(int port, int rank, MessageBoard& board, CheckLevel check,
                          std::function<void(Communicator&)> const& body) {
    RankEnd end;
    launch::ControlClient control("127.0.0.1", port, "conformance", rank, static_cast<int>(board.size()),
                                  std::chrono::seconds(60));
    ControlledCommunicator comm(control, board, check);
    try {
      body(comm);
    } catch (Error const& error) {
      end = {true, error.code(), error.what()};
    } catch (std::exception const& error) {
      end = {true, ErrorCode::internal, error.what()};
    }
    if (end.failed) control.fail(ErrorCode::aborted, "rank " + std::to_string(rank) + " failed: " + end.text);
    return end;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace switchyard::test
