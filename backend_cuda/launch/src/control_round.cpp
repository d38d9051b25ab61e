// SPDX-License-Identifier: Apache-2.0
#include "control_round.hpp"

#include <algorithm>
#include <utility>

#include "switchyard/internal/require.hpp"

namespace switchyard::launch {
namespace {

std::size_t at(int rank) {
  return static_cast<std::size_t>(rank);
}

bool all(std::vector<bool> const& flags) {
  return std::find(flags.begin(), flags.end(), false) == flags.end();
}
bool none(std::vector<bool> const& flags) {
  return std::find(flags.begin(), flags.end(), true) == flags.end();
}

}  // namespace

ControlRound::ControlRound(int world_size)
    : notes_(at(world_size)), arrived_(at(world_size)), finished_(at(world_size)), ended_(at(world_size)) {}

void ControlRound::on_note(int rank, CallNote note) {
  if (failure_) return replies_.push_back({rank, failure_frame(FrameType::failed, *failure_)});
  notes_[at(rank)] = std::move(note);
  arrived_[at(rank)] = true;
  fail_if_someone_ended();
  if (!failure_ && all(arrived_)) match();
}

/// The last rank to arrive decides for all.
void ControlRound::match() {
  if (auto const mismatch = compare_notes(notes_)) return fail(mismatch->code, mismatch->text);
  if (auto const refusal = refusal_of(notes_)) return end_round(failure_frame(FrameType::refused, *refusal));
  bool const single = std::all_of(notes_.begin(), notes_.end(), [](CallNote const& note) { return note.single_phase; });
  if (single) return complete();
  moving_ = true;
  for (int rank = 0; rank < static_cast<int>(notes_.size()); ++rank) replies_.push_back({rank, go_frame(rank)});
}

/// The checksums of the messages that `receiver` gets, by sender.
std::vector<std::byte> ControlRound::go_frame(int receiver) const {
  FrameWriter writer(FrameType::go);
  for (CallNote const& note : notes_) {
    bool const has = at(receiver) < note.checksums.size();
    writer.put_u64(has ? note.checksums[at(receiver)].size() : 0);
    if (!has) continue;
    for (std::uint64_t const sum : note.checksums[at(receiver)]) writer.put_u64(sum);
  }
  return writer.bytes();
}

void ControlRound::on_done(int rank) {
  if (failure_ || !moving_) return;  // the failure has been sent
  finished_[at(rank)] = true;
  if (all(finished_)) complete();
}

void ControlRound::complete() {
  end_round(FrameWriter(FrameType::complete).bytes());
}

void ControlRound::end_round(std::vector<std::byte> const& answer) {
  ++rounds_;
  moving_ = false;
  arrived_.assign(arrived_.size(), false);
  finished_.assign(finished_.size(), false);
  send_all(answer);
}

void ControlRound::on_expired(int rank, double seconds) {
  if (failure_ || !arrived_[at(rank)]) return;
  auto const& flags = moving_ ? finished_ : arrived_;
  char const* const phase = moving_ ? "moving the data" : "the arrival of all ranks";
  char const* const there = moving_ ? "finished" : "arrived";
  char const* const missing = moving_ ? "not finished" : "missing";
  fail(ErrorCode::timeout,
       fmt::format("{}: {} took longer than the deadline of {:.3f} s: {}: {}; {}: {}; a rank is slow, stuck or took "
                   "another path: look at the {} ranks, or raise the deadline",
                   notes_[at(rank)].label(), phase, seconds, there, name_ranks(ranks_where(flags, true)), missing,
                   name_ranks(ranks_where(flags, false)), missing));
}

void ControlRound::on_fail(GroupFailure const& failure) {
  fail(failure.code, failure.text);
}

void ControlRound::on_ended(int rank) {
  ended_[at(rank)] = true;
  if (!none(arrived_)) fail_if_someone_ended();
}

void ControlRound::on_lost(int rank) {
  if (ended_[at(rank)]) return;
  ended_[at(rank)] = true;
  fail(ErrorCode::aborted,
       fmt::format("{}: the connection to rank {} broke: its process died or was killed; look at its output, then "
                   "restart the group",
                   label(), rank));
}

void ControlRound::fail_if_someone_ended() {
  auto const gone = ranks_where(ended_, true);
  if (gone.empty()) return;
  auto const waiting = ranks_where(arrived_, true);
  fail(ErrorCode::desync,
       fmt::format("{}: {} cannot arrive: it returned from its body after {} calls, while {} waits for it; a rank left "
                   "its loop early or made fewer calls: let every rank make the same calls",
                   label(), name_ranks(gone), rounds_ + (moving_ ? 1 : 0), name_ranks(waiting)));
}

void ControlRound::fail(ErrorCode code, std::string const& text) {
  if (failure_) return;
  failure_ = GroupFailure{code, text};
  send_all(failure_frame(FrameType::failed, *failure_));
}

void ControlRound::send_all(std::vector<std::byte> const& bytes) {
  for (int rank = 0; rank < static_cast<int>(notes_.size()); ++rank) replies_.push_back({rank, bytes});
}

bool ControlRound::all_ended() const {
  return all(ended_);
}

std::vector<Reply> ControlRound::take_replies() {
  return std::exchange(replies_, {});
}

std::vector<int> ControlRound::ranks_where(std::vector<bool> const& flags, bool value) const {
  std::vector<int> ranks;
  for (std::size_t r = 0; r < flags.size(); ++r)
    if (flags[r] == value) ranks.push_back(static_cast<int>(r));
  return ranks;
}

std::string ControlRound::label() const {
  for (std::size_t r = 0; r < notes_.size(); ++r)
    if (arrived_[r]) return notes_[r].label();
  return fmt::format("after {} calls, before the next one", rounds_);
}

}  // namespace switchyard::launch
