// SPDX-License-Identifier: Apache-2.0
#include "rendezvous.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "rank_list.hpp"
#include "switchyard/cpu/internal/fault_hook.hpp"
#include "switchyard/internal/byte_checksum.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {

/// Holds the scheduler's lock for a scope; released() gives it up while a function runs that throws nothing.
class Rendezvous::Lock {
 public:
  explicit Lock(Scheduler& scheduler) : scheduler_(scheduler) { scheduler_.lock(); }
  ~Lock() { scheduler_.unlock(); }
  Lock(Lock const&) = delete;
  Lock& operator=(Lock const&) = delete;

  template <typename Function>
  void released(Function const& function) {
    scheduler_.unlock();
    function();
    scheduler_.lock();
  }

 private:
  Scheduler& scheduler_;
};

Rendezvous::Rendezvous(Scheduler& scheduler, int num_ranks, GroupOptions const& options, FaultHook* faults)
    : scheduler_(scheduler),
      options_(options),
      faults_(faults),
      postings_(static_cast<std::size_t>(num_ranks)),
      arrived_(postings_.size()),
      finished_(postings_.size()),
      ended_(postings_.size()) {}

Rendezvous::Ticket Rendezvous::post(RankId rank, Posting posting, Duration deadline) {
  if (options_.check == CheckLevel::full) add_checksums(posting);
  if (faults_) faults_->before_post(rank, posting.sequence);
  Instant const entry = scheduler_.now();
  Lock const lock(scheduler_);
  throw_if_failed();
  Ticket const ticket{completed_, entry, deadline};
  postings_[rank.index()] = std::move(posting);
  arrived_[rank.index()] = true;
  ++num_arrived_;
  fail_if_someone_ended();
  if (num_arrived_ == size()) match();
  return ticket;
}

void Rendezvous::complete(RankId rank, Ticket const& ticket) {
  Lock lock(scheduler_);
  Phase const phase{"the arrival of all ranks", "arrived", "missing", arrived_};
  wait([&] { return matched_ > ticket.round; }, ticket, phase, rank);
  if (completed_ > ticket.round) return;  // a barrier is complete when all have arrived
  if (failure_) leave_failed();
  ++num_copying_;
  std::optional<GroupFailure> damage;
  lock.released([&] { damage = copy(rank); });
  --num_copying_;
  if (damage) set_failure(damage->code, damage->text);
  if (failure_) leave_failed();
  leave(rank, ticket);
}

void Rendezvous::abandon(RankId rank) noexcept {
  Lock const lock(scheduler_);
  try {
    set_failure(ErrorCode::aborted, fmt::format("{}: rank {} started the call and went away without finishing it",
                                                postings_[rank.index()].label(), rank.value()));
    wait_for_copies();
  } catch (...) {  // out of memory for the text: a shorter one that needs none
    set_failure(ErrorCode::aborted, {});
    scheduler_.notify_all();
  }
}

/// The last rank to arrive decides for all.
void Rendezvous::match() {
  if (options_.check != CheckLevel::off) {
    if (auto mismatch = compare_postings(postings_)) {
      set_failure(mismatch->code, mismatch->text);
      return;
    }
  }
  ++matched_;
  bool const nothing_moves = std::all_of(postings_.begin(), postings_.end(),
                                         [](Posting const& posting) { return posting.kind == CallKind::barrier; });
  if (nothing_moves) complete_round();
  scheduler_.notify_all();
}

/// Runs without the lock. @return what went wrong; nothing escapes, because others wait for this rank's buffers.
std::optional<GroupFailure> Rendezvous::copy(RankId rank) {
  Posting const& mine = postings_[rank.index()];
  try {
    if (mine.kind == CallKind::read_peers) {
      read_from_all(mine, rank);
    } else {
      for (std::int32_t s = 0; s < size(); ++s) copy_from(mine, rank, RankId(s));
    }
    return std::nullopt;
  } catch (Error const& error) {
    return GroupFailure{error.code(), std::string(error.message())};
  } catch (std::exception const& error) {
    return GroupFailure{ErrorCode::aborted,
                        fmt::format("{}: rank {} failed while copying: {}", mine.label(), rank.value(), error.what())};
  } catch (...) {
    return GroupFailure{ErrorCode::aborted,
                        fmt::format("{}: rank {} failed while copying", mine.label(), rank.value())};
  }
}

void Rendezvous::copy_from(Posting const& mine, RankId rank, RankId sender) {
  Posting const& theirs = postings_[sender.index()];
  auto const sent = theirs.sends.of(rank);
  auto const wanted = mine.receives.of(sender);
  std::size_t const count = std::min(sent.size(), wanted.size());  // they differ with CheckLevel::off only
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t const bytes = std::min(sent[i].size(), wanted[i].size());
    if (bytes != 0) std::memcpy(wanted[i].data(), sent[i].data(), bytes);
  }
  if (faults_) faults_->after_copy(rank, sender, mine.sequence, wanted);
  if (options_.check == CheckLevel::full) verify(theirs, rank, sender, wanted);
}

/// The sizes are compared once more, because with CheckLevel::off nobody has: a reader must stay inside the buffers.
void Rendezvous::read_from_all(Posting const& mine, RankId rank) {
  if (auto failure = compare_published(postings_, rank.index())) throw Error(failure->code, failure->text);
  std::vector<std::span<std::byte const>> buffers;
  for (Posting const& posting : postings_) buffers.push_back(published_bytes(posting));
  (*mine.read)(buffers);
  if (!faults_) return;
  for (std::int32_t s = 0; s < size(); ++s) faults_->after_copy(rank, RankId(s), mine.sequence, {});
}

void Rendezvous::verify(Posting const& theirs, RankId rank, RankId sender,
                        std::span<std::span<std::byte> const> received) {
  std::size_t const first = theirs.sends.begin_of(rank);
  for (std::size_t i = 0; i < received.size(); ++i) {
    std::uint64_t const sent_sum = theirs.send_checksums[first + i];
    std::uint64_t const received_sum = internal::byte_checksum(received[i]);
    SWITCHYARD_REQUIRE(sent_sum == received_sum, corrupt_data,
                       "{}: message {} of {} from rank {} to rank {} ({} bytes) was sent with checksum {:016x} and "
                       "arrived with {:016x}; a memory or transport fault: do not use the received buffers",
                       theirs.label(), i, received.size(), sender.value(), rank.value(), received[i].size(), sent_sum,
                       received_sum);
  }
}

void Rendezvous::leave(RankId rank, Ticket const& ticket) {
  finished_[rank.index()] = true;
  if (++num_finished_ == size()) {
    complete_round();
    scheduler_.notify_all();
    return;
  }
  Phase const phase{"copying the messages", "finished", "not finished", finished_};
  wait([&] { return completed_ > ticket.round; }, ticket, phase, rank);
}

void Rendezvous::wait(std::function<bool()> const& done, Ticket const& ticket, Phase const& phase, RankId rank) {
  try {
    scheduler_.wait_until(deadline_after(ticket.entry, ticket.deadline),
                          [&] { return done() || failure_.has_value(); });
  } catch (Error const& error) {
    set_failure(error.code(), fmt::format("{}: {}", postings_[rank.index()].label(), error.message()));
  }
  if (done()) return;
  if (!failure_) set_failure(ErrorCode::timeout, expiry_text(phase, ticket.deadline, rank));
  leave_failed();
}

std::string Rendezvous::expiry_text(Phase const& phase, Duration deadline, RankId rank) const {
  return fmt::format(
      "{}: {} took longer than the deadline of {:.3f} s: {}: {}; {}: {}; a rank is slow, stuck or took another path: "
      "look at the {} ranks, or raise the deadline",
      postings_[rank.index()].label(), phase.name, std::chrono::duration<double>(deadline).count(), phase.reached,
      list_ranks(ranks_where(phase.flags, true)), phase.missing, list_ranks(ranks_where(phase.flags, false)),
      phase.missing);
}

/// A failed round's buffers may still be in use by ranks that copy; copying never waits, so this ends.
void Rendezvous::leave_failed() {
  wait_for_copies();
  throw Error(failure_->code, failure_->text);
}

void Rendezvous::wait_for_copies() {
  scheduler_.notify_all();
  scheduler_.wait_until(kNever, [&] { return num_copying_ == 0; });
}

void Rendezvous::throw_if_failed() const {
  if (failure_) throw Error(failure_->code, failure_->text);
}

void Rendezvous::fail(ErrorCode code, std::string const& text) {
  Lock const lock(scheduler_);
  set_failure(code, text);
  scheduler_.notify_all();
}

void Rendezvous::rank_ended(RankId rank) {
  Lock const lock(scheduler_);
  ended_[rank.index()] = true;
  ++num_ended_;
  if (num_arrived_ > 0) fail_if_someone_ended();
}

/// A call can never complete once a rank has ended, so those who wait hear of it at once.
void Rendezvous::fail_if_someone_ended() {
  if (num_ended_ == 0) return;
  auto const gone = ranks_where(ended_, true);
  auto const waiting = ranks_where(arrived_, true);
  set_failure(ErrorCode::desync,
              fmt::format("{}: {} cannot arrive: it returned from its body after {} calls, while {} waits for it; a "
                          "rank left its loop early or made fewer calls: let every rank make the same calls",
                          postings_[waiting.front().index()].label(), list_ranks(gone), matched_, list_ranks(waiting)));
  scheduler_.notify_all();
}

void Rendezvous::set_failure(ErrorCode code, std::string const& text) {
  if (!failure_) failure_ = GroupFailure{code, text};
}

void Rendezvous::complete_round() {
  ++completed_;
  arrived_.assign(arrived_.size(), false);
  finished_.assign(finished_.size(), false);
  num_arrived_ = 0;
  num_finished_ = 0;
}

std::vector<RankId> Rendezvous::ranks_where(std::vector<bool> const& flags, bool value) const {
  std::vector<RankId> ranks;
  for (std::size_t r = 0; r < flags.size(); ++r)
    if (flags[r] == value) ranks.push_back(RankId(static_cast<std::int32_t>(r)));
  return ranks;
}

}  // namespace switchyard::cpu
