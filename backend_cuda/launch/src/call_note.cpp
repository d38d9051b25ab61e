// SPDX-License-Identifier: Apache-2.0
#include "switchyard/launch/call_note.hpp"

#include <algorithm>

#include "switchyard/internal/require.hpp"

namespace switchyard::launch {
namespace {

char const* name_of(CallKind kind) {
  switch (kind) {
    case CallKind::barrier: return "barrier";
    case CallKind::all_gather_v: return "all_gather_v";
    case CallKind::all_to_all_v: return "all_to_all_v";
    case CallKind::exchange: return "exchange";
  }
  return "unknown call";
}

template <typename Same>
std::string ranks_like(std::vector<CallNote> const& notes, std::size_t like, Same const& same) {
  std::vector<int> ranks;
  for (std::size_t r = 0; r < notes.size(); ++r)
    if (same(notes[r], notes[like])) ranks.push_back(static_cast<int>(r));
  return name_ranks(ranks);
}

/// @return the first rank that differs from rank 0, or the number of ranks.
template <typename Same>
std::size_t first_different(std::vector<CallNote> const& notes, Same const& same) {
  auto const it =
      std::find_if_not(notes.begin(), notes.end(), [&](CallNote const& note) { return same(note, notes[0]); });
  return static_cast<std::size_t>(it - notes.begin());
}

std::optional<GroupFailure> compare_calls(std::vector<CallNote> const& notes) {
  auto const same = [](CallNote const& a, CallNote const& b) {
    return a.kind == b.kind && a.operation == b.operation && a.sequence == b.sequence &&
           a.single_phase == b.single_phase && a.check == b.check;
  };
  std::size_t const other = first_different(notes, same);
  if (other == notes.size()) return std::nullopt;
  return GroupFailure{
      ErrorCode::desync,
      fmt::format("ranks are in different calls: {} in {}, {} in {}; a rank skipped, repeated or reordered a call: let "
                  "every rank make the same calls in the same order, also with zero tokens",
                  ranks_like(notes, 0, same), notes[0].label(), ranks_like(notes, other, same), notes[other].label())};
}

std::optional<GroupFailure> compare_configurations(std::vector<CallNote> const& notes) {
  auto const same = [](CallNote const& a, CallNote const& b) { return a.configuration == b.configuration; };
  std::size_t const other = first_different(notes, same);
  if (other == notes.size()) return std::nullopt;
  return GroupFailure{
      ErrorCode::desync,
      fmt::format("{}: ranks disagree about the configuration digest: {:016x} on {}, {:016x} on {}; another dtype, "
                  "hidden size, top-k, placement or plan on one side: build it from the same values on every rank",
                  notes[0].label(), notes[0].configuration, ranks_like(notes, 0, same), notes[other].configuration,
                  ranks_like(notes, other, same))};
}

std::string describe_pair(std::vector<std::int64_t> const& sent, std::vector<std::int64_t> const& expected,
                          std::size_t sender, std::size_t receiver) {
  if (sent.size() != expected.size())
    return fmt::format("rank {} sends {} messages to rank {}, which expects {}", sender, sent.size(), receiver,
                       expected.size());
  auto const found = std::mismatch(sent.begin(), sent.end(), expected.begin());
  auto const index = found.first - sent.begin();
  std::string const which = sent.size() == 1 ? "" : fmt::format(" (message {} of {})", index, sent.size());
  return fmt::format("rank {} sends {} bytes to rank {}, which expects {}{}", sender, *found.first, receiver,
                     *found.second, which);
}

std::optional<GroupFailure> compare_counts(std::vector<CallNote> const& notes) {
  std::string first;
  int pairs = 0;
  for (std::size_t s = 0; s < notes.size(); ++s)
    for (std::size_t r = 0; r < notes.size(); ++r) {
      if (notes[s].send_bytes[r] == notes[r].receive_bytes[s]) continue;
      if (pairs++ == 0) first = describe_pair(notes[s].send_bytes[r], notes[r].receive_bytes[s], s, r);
    }
  if (pairs == 0) return std::nullopt;
  std::string const more = pairs == 1 ? "" : fmt::format(" (and {} more pairs disagree)", pairs - 1);
  return GroupFailure{
      ErrorCode::split_mismatch,
      fmt::format("{}: {}{}; nothing was moved; the two ranks computed their splits from different counts: exchange "
                  "the counts first or check the plan on both",
                  notes[0].label(), first, more)};
}

}  // namespace

std::string CallNote::label() const {
  std::string text = fmt::format("{} #{}", name_of(kind), sequence);
  if (!operation.empty()) text += fmt::format(" \"{}\"", operation);
  return text;
}

std::optional<GroupFailure> compare_notes(std::vector<CallNote> const& notes) {
  bool const is_off = std::all_of(notes.begin(), notes.end(), [](auto const& n) { return n.check == CheckLevel::off; });
  if (is_off) return std::nullopt;
  if (auto failure = compare_calls(notes)) return failure;
  if (auto failure = compare_configurations(notes)) return failure;
  if (notes.front().kind == CallKind::barrier) return std::nullopt;
  return compare_counts(notes);
}

std::optional<GroupFailure> refusal_of(std::vector<CallNote> const& notes) {
  auto const it = std::find_if(notes.begin(), notes.end(), [](CallNote const& note) { return !note.refusal.empty(); });
  if (it == notes.end()) return std::nullopt;
  return GroupFailure{
      ErrorCode::out_of_memory,
      fmt::format("{}: rank {} could not take part: {}; nothing was moved on any rank, and the group can "
                  "be used further",
                  it->label(), it - notes.begin(), it->refusal)};
}

std::string name_ranks(std::vector<int> const& ranks) {
  if (ranks.empty()) return "no rank";
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t begin = 0; begin < ranks.size();) {
    std::size_t end = begin + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    if (begin > 0) text += ", ";
    text += end - begin == 1 ? fmt::format("{}", ranks[begin]) : fmt::format("{}-{}", ranks[begin], ranks[end - 1]);
    begin = end;
  }
  return text;
}

}  // namespace switchyard::launch
