// SPDX-License-Identifier: Apache-2.0
#include "compare_postings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "rank_list.hpp"

namespace switchyard::cpu {
namespace {

RankId rank_at(std::size_t index) {
  return RankId(static_cast<std::int32_t>(index));
}

/// Ranks that say the same as rank `like`, for the text.
template <typename Same>
std::string ranks_like(std::vector<Posting> const& postings, std::size_t like, Same const& same) {
  std::vector<RankId> ranks;
  for (std::size_t r = 0; r < postings.size(); ++r)
    if (same(postings[r], postings[like])) ranks.push_back(rank_at(r));
  return list_ranks(ranks);
}

/// @return the first rank that differs from rank 0 under `same`, or the number of ranks.
template <typename Same>
std::size_t first_different(std::vector<Posting> const& postings, Same const& same) {
  auto const it = std::find_if_not(postings.begin(), postings.end(),
                                   [&](Posting const& posting) { return same(posting, postings.front()); });
  return static_cast<std::size_t>(it - postings.begin());
}

std::optional<GroupFailure> compare_calls(std::vector<Posting> const& postings) {
  auto const same = [](Posting const& a, Posting const& b) {
    return a.kind == b.kind && a.operation == b.operation && a.sequence == b.sequence;
  };
  std::size_t const other = first_different(postings, same);
  if (other == postings.size()) return std::nullopt;
  return GroupFailure{
      ErrorCode::desync,
      fmt::format("ranks are in different calls: {} in {}, {} in {}; a rank skipped, repeated or reordered a call: let "
                  "every rank make the same calls in the same order, also with zero tokens",
                  ranks_like(postings, 0, same), postings[0].label(), ranks_like(postings, other, same),
                  postings[other].label())};
}

std::optional<GroupFailure> compare_configurations(std::vector<Posting> const& postings) {
  auto const same = [](Posting const& a, Posting const& b) { return a.configuration == b.configuration; };
  std::size_t const other = first_different(postings, same);
  if (other == postings.size()) return std::nullopt;
  return GroupFailure{
      ErrorCode::desync,
      fmt::format("{}: ranks disagree about the configuration digest: {:016x} on {}, {:016x} on {}; another dtype, "
                  "hidden size, top-k, placement or plan on one side: build it from the same values on every rank",
                  postings[0].label(), postings[0].configuration, ranks_like(postings, 0, same),
                  postings[other].configuration, ranks_like(postings, other, same))};
}

std::string describe_pair(std::span<std::span<std::byte const> const> sent,
                          std::span<std::span<std::byte> const> expected, std::size_t sender, std::size_t receiver) {
  if (sent.size() != expected.size())
    return fmt::format("rank {} sends {} messages to rank {}, which expects {}", sender, sent.size(), receiver,
                       expected.size());
  for (std::size_t i = 0; i < sent.size(); ++i) {
    if (sent[i].size() == expected[i].size()) continue;
    std::string const which = sent.size() == 1 ? "" : fmt::format(" (message {} of {})", i, sent.size());
    return fmt::format("rank {} sends {} bytes to rank {}, which expects {}{}", sender, sent[i].size(), receiver,
                       expected[i].size(), which);
  }
  return {};
}

std::optional<GroupFailure> compare_all_published(std::vector<Posting> const& postings) {
  for (std::size_t reader = 0; reader < postings.size(); ++reader)
    if (auto failure = compare_published(postings, reader)) return failure;
  return std::nullopt;
}

bool fits(std::span<std::span<std::byte const> const> sent, std::span<std::span<std::byte> const> expected) {
  return std::equal(sent.begin(), sent.end(), expected.begin(), expected.end(),
                    [](auto const& a, auto const& b) { return a.size() == b.size(); });
}

/// Pairs whose counts disagree: how many, and the first by (sender, receiver).
struct CountMismatches {
  std::int64_t pairs = 0;
  std::size_t sender = 0;
  std::size_t receiver = 0;

  void add(std::size_t s, std::size_t r) {
    if (pairs == 0 || std::pair(s, r) < std::pair(sender, receiver)) {
      sender = s;
      receiver = r;
    }
    ++pairs;
  }
};

/// Walks the pairs in blocks of senders: every table is read along its rows, which matters for a thousand ranks.
CountMismatches find_count_mismatches(std::vector<Posting> const& postings) {
  constexpr std::size_t kSenderBlock = 32;
  CountMismatches found;
  for (std::size_t begin = 0; begin < postings.size(); begin += kSenderBlock) {
    std::size_t const end = std::min(begin + kSenderBlock, postings.size());
    for (std::size_t r = 0; r < postings.size(); ++r)
      for (std::size_t s = begin; s < end; ++s)
        if (!fits(postings[s].sends.of(rank_at(r)), postings[r].receives.of(rank_at(s)))) found.add(s, r);
  }
  return found;
}

std::optional<GroupFailure> compare_counts(std::vector<Posting> const& postings) {
  CountMismatches const found = find_count_mismatches(postings);
  if (found.pairs == 0) return std::nullopt;
  auto const sent = postings[found.sender].sends.of(rank_at(found.receiver));
  auto const expected = postings[found.receiver].receives.of(rank_at(found.sender));
  std::string const more = found.pairs == 1 ? "" : fmt::format(" (and {} more pairs disagree)", found.pairs - 1);
  return GroupFailure{
      ErrorCode::split_mismatch,
      fmt::format("{}: {}{}; nothing was moved; the two ranks computed their splits from different counts: exchange "
                  "the counts first or check the plan on both",
                  postings[0].label(), describe_pair(sent, expected, found.sender, found.receiver), more)};
}

}  // namespace

std::optional<GroupFailure> compare_published(std::vector<Posting> const& postings, std::size_t reader) {
  Posting const& mine = postings[reader];
  for (std::size_t s = 0; s < postings.size(); ++s) {
    std::size_t const bytes = published_bytes(postings[s]).size();
    if (std::cmp_equal(mine.peer_bytes[s], bytes)) continue;
    return GroupFailure{ErrorCode::split_mismatch,
                        fmt::format("{}: rank {} publishes {} bytes, rank {} expects {}; nothing was read; the two "
                                    "ranks computed their rows from different plans: check the plan on both",
                                    mine.label(), s, bytes, reader, mine.peer_bytes[s])};
  }
  return std::nullopt;
}

std::optional<GroupFailure> compare_postings(std::vector<Posting> const& postings) {
  if (auto failure = compare_calls(postings)) return failure;
  if (auto failure = compare_configurations(postings)) return failure;
  if (postings.front().kind == CallKind::barrier) return std::nullopt;
  if (postings.front().kind == CallKind::read_peers) return compare_all_published(postings);
  return compare_counts(postings);
}

}  // namespace switchyard::cpu
