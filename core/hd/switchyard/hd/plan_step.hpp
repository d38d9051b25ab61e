// SPDX-License-Identifier: Apache-2.0
/// The steps of planning as many threads take them: which bucket of a stable sort a choice goes to, where it stands
/// among its token's rows, and how choices are cut into tiles whose counts are summed.
#pragma once

#include <cstdint>

#include "switchyard/types/host_device.hpp"

namespace switchyard::hd {

/// What rows are sorted by.
enum class PlanKey : std::int32_t {
  slot,      ///< physical slot: one row per choice, a token's rows listed by column
  ep_rank,   ///< EP rank that owns the slot: one row per (rank, token), a token's rows listed by rank
  local_id,  ///< local expert among this rank's slots, others' left out; a token's rows listed by (expert, column)
};

struct PlanKeys {
  PlanKey kind = PlanKey::slot;
  std::int32_t const* rank_of_slot = nullptr;  ///< ep_rank: [num_slots]
  std::int32_t num_ranks = 1;                  ///< ep_rank
  std::int32_t first_slot = 0;                 ///< local_id
  std::int32_t num_local = 0;                  ///< local_id
};

/// One choice of a token as a sort sees it.
struct PlanChoice {
  std::int32_t key = -1;    ///< bucket, -1 = makes no row
  std::int32_t before = 0;  ///< rows of the token's earlier columns; 0 for PlanKey::slot
  std::int32_t place = 0;   ///< place in the token's list of rows; 0 for PlanKey::slot
};

namespace detail {

SWITCHYARD_HD constexpr std::int32_t count_bits(std::uint64_t bits) noexcept {
  std::int32_t count = 0;
  for (; bits != 0; bits &= bits - 1) ++count;
  return count;
}

SWITCHYARD_HD constexpr std::int32_t local_of(PlanKeys const& keys, std::int32_t slot) noexcept {
  std::int32_t const local = slot - keys.first_slot;
  return slot >= 0 && local >= 0 && local < keys.num_local ? local : -1;
}

/// Distinct ranks of a token are counted in words of 64.
SWITCHYARD_HD constexpr PlanChoice choose_rank(PlanKeys const& keys, std::int32_t const* slots, std::int32_t columns,
                                               std::int32_t column) noexcept {
  PlanChoice choice;
  std::int32_t const rank = keys.rank_of_slot[slots[column]];
  for (std::int32_t first = 0; first < keys.num_ranks; first += 64) {
    std::uint64_t earlier = 0;
    std::uint64_t all = 0;
    for (std::int32_t other = 0; other < columns; ++other) {
      std::int32_t const bit = slots[other] < 0 ? -1 : keys.rank_of_slot[slots[other]] - first;
      if (bit < 0 || bit >= 64) continue;
      all |= std::uint64_t{1} << bit;
      if (other < column) earlier |= std::uint64_t{1} << bit;
    }
    std::int32_t const own = rank - first;
    if (own >= 0 && own < 64 && (earlier >> own & 1) != 0) return PlanChoice{};
    std::uint64_t const lower = own >= 64 ? ~std::uint64_t{0} : own <= 0 ? 0 : (std::uint64_t{1} << own) - 1;
    choice.before += count_bits(earlier);
    choice.place += count_bits(all & lower);
  }
  choice.key = rank;
  return choice;
}

SWITCHYARD_HD constexpr PlanChoice choose_local(PlanKeys const& keys, std::int32_t const* slots, std::int32_t columns,
                                                std::int32_t column) noexcept {
  PlanChoice choice;
  choice.key = local_of(keys, slots[column]);
  if (choice.key < 0) return choice;
  for (std::int32_t other = 0; other < columns; ++other) {
    std::int32_t const key = local_of(keys, slots[other]);
    if (key < 0) continue;
    if (other < column) ++choice.before;
    if (key < choice.key || (key == choice.key && other < column)) ++choice.place;
  }
  return choice;
}

}  // namespace detail

/// @param slots [columns] physical slots of one token's choices, -1 = dropped
SWITCHYARD_HD constexpr PlanChoice plan_choice(PlanKeys const& keys, std::int32_t const* slots, std::int32_t columns,
                                               std::int32_t column) noexcept {
  if (slots[column] < 0) return PlanChoice{};
  switch (keys.kind) {
    case PlanKey::ep_rank: return detail::choose_rank(keys, slots, columns, column);
    case PlanKey::local_id: return detail::choose_local(keys, slots, columns, column);
    case PlanKey::slot: break;
  }
  return PlanChoice{slots[column], 0, 0};
}

/// Tokens of `sources` ranks cut into tiles, which no two ranks share. Sources stand in row order.
struct PlanTiles {
  std::int32_t sources = 1;
  std::int32_t per_source = 1;
  std::int32_t tokens = 1;  ///< of a tile

  [[nodiscard]] SWITCHYARD_HD constexpr std::int32_t count() const noexcept { return sources * per_source; }
};

struct PlanRange {
  std::int64_t begin;
  std::int64_t end;
};
/// The tokens of a source that stand in its tile number `tile`.
SWITCHYARD_HD constexpr PlanRange tokens_of_tile(PlanTiles const& tiles, std::int32_t tile,
                                                 std::int64_t num_tokens) noexcept {
  std::int64_t const begin = static_cast<std::int64_t>(tile) * tiles.tokens;
  std::int64_t const end = begin + tiles.tokens;
  return {begin < num_tokens ? begin : num_tokens, end < num_tokens ? end : num_tokens};
}

/// Part `part` of `parts` of a range, for the warps of a block.
SWITCHYARD_HD constexpr PlanRange part_of(PlanRange range, std::int32_t part, std::int32_t parts) noexcept {
  std::int64_t const each = (range.end - range.begin + parts - 1) / parts;
  std::int64_t const begin = range.begin + part * each;
  std::int64_t const end = begin + each;
  return {begin < range.end ? begin : range.end, end < range.end ? end : range.end};
}

/// Counts of a sort: one line per bucket with the rows in front of every tile; behind the buckets a line of all rows
/// and one of the tokens that have rows.
struct PlanCounts {
  std::uint32_t const* prefix;  ///< [lines * tiles]
  std::uint32_t const* totals;  ///< [lines]
  std::int32_t tiles;

  [[nodiscard]] SWITCHYARD_HD std::uint32_t before(std::int32_t line, std::int32_t tile) const noexcept {
    return tile < tiles ? prefix[static_cast<std::int64_t>(line) * tiles + tile] : totals[line];
  }
  /// Of the source at `position`.
  [[nodiscard]] SWITCHYARD_HD std::uint32_t of_source(PlanTiles const& cut, std::int32_t line,
                                                      std::int32_t position) const noexcept {
    return before(line, (position + 1) * cut.per_source) - before(line, position * cut.per_source);
  }
};

/// An order-preserving image of a capacity's criterion: larger values first, +0 and -0 alike.
SWITCHYARD_HD constexpr std::uint32_t order_of_bits(std::uint32_t float_bits) noexcept {
  constexpr std::uint32_t kSign = 0x80000000u;
  if (float_bits == kSign) float_bits = 0;
  return (float_bits & kSign) != 0 ? ~float_bits : float_bits | kSign;
}

}  // namespace switchyard::hd
