// SPDX-License-Identifier: Apache-2.0
/// What a block that makes a plan alone keeps in shared memory, and how large that is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan_block.hpp"
#include "plan_tile.cuh"

namespace switchyard::cuda {

/// What stands for a choice that makes no row.
inline constexpr std::int32_t kDroppedChoice = -1;
inline constexpr std::int32_t kNoToken = -2;   ///< behind the source's last token
inline constexpr std::int32_t kNoSource = -3;  ///< the source announced nothing

/// Counts of a token, or their sums over the tokens in front of it, in one word.
class TokenSums {
 public:
  TokenSums() = default;
  __device__ explicit TokenSums(std::uint64_t bits) : bits_(bits) {}
  __device__ TokenSums(std::int32_t kept, std::int32_t ranks, std::int32_t peers, std::int32_t locals)
      : bits_(static_cast<std::uint64_t>(kept) | static_cast<std::uint64_t>(ranks) << 15 |
              static_cast<std::uint64_t>(peers) << 26 | static_cast<std::uint64_t>(locals) << 37 |
              static_cast<std::uint64_t>(locals > 0 ? 1 : 0) << 52) {}

  [[nodiscard]] __device__ std::uint64_t bits() const { return bits_; }
  /// Of this rank's tokens: choices with a slot, ranks that they go to, and those but this rank.
  [[nodiscard]] __device__ std::int32_t kept() const { return field(0, 15); }
  [[nodiscard]] __device__ std::int32_t ranks() const { return field(15, 11); }
  [[nodiscard]] __device__ std::int32_t peers() const { return field(26, 11); }
  /// Of all tokens: choices of local slots, and whether there is any.
  [[nodiscard]] __device__ std::int32_t locals() const { return field(37, 15); }
  [[nodiscard]] __device__ std::int32_t received() const { return field(52, 11); }

 private:
  [[nodiscard]] __device__ std::int32_t field(int shift, int width) const {
    return static_cast<std::int32_t>(bits_ >> shift & ((std::uint64_t{1} << width) - 1));
  }
  std::uint64_t bits_ = 0;
};

/// Shared memory of the block. Lists by choice and by slot lie behind it, as PlanBlockTables has them.
struct PlanBlockMemory {
  static constexpr std::int32_t kRanks = kPlanBlockWarps;
  TokenSums warp_sums[kPlanBlockWarps];
  std::uint32_t warp_rows[kPlanBlockWarps];
  std::uint32_t goes_to[kRanks][kPlanBlockWarps];      ///< a bit per token
  std::uint16_t sent_before[kRanks][kPlanBlockWarps];  ///< rows of a rank's block in front of a warp's tokens
  std::int32_t sent_start[kRanks + 1];                 ///< first row of every block
  std::int32_t received_start[kRanks + 1];
  std::int32_t arrived_start[kRanks + 1];  ///< expert rows of the sources in front
  std::int32_t tokens[kRanks];
  unsigned long long error;  ///< the plan's word at its end
  TokenSums all;
  TokenSums before_token[kPlanBlockThreads];
  std::int32_t rank_of_slot[kPlanBlockThreads];
  std::uint16_t own_before[kPlanBlockThreads];     ///< rows of a slot from sources in front of this rank
  std::uint16_t first_own[kPlanBlockThreads + 1];  ///< row of this rank
  std::uint16_t first_arrived[kPlanBlockThreads];  ///< expert row
};

[[nodiscard]] SWITCHYARD_HD inline std::int32_t plan_block_pitch(PlanBlockShape const& shape) {
  return (shape.slots + 1) / 2 * 2;
}
[[nodiscard]] SWITCHYARD_HD inline std::size_t plan_block_bytes(PlanBlockShape const& shape) {
  std::size_t const own = static_cast<std::size_t>(shape.tokens) * static_cast<std::size_t>(shape.columns);
  std::size_t const all = static_cast<std::size_t>(shape.ranks) * own;
  return sizeof(PlanBlockMemory) + all * sizeof(std::int32_t) + (3 * all + 2 * own) * sizeof(std::uint16_t) +
         static_cast<std::size_t>(plan_block_pitch(shape)) * kPlanBlockWarps * sizeof(std::uint16_t) +
         2 * sizeof(std::uint32_t);
}

/// Divides numbers below 2^16 by one that many are divided by: a multiplication instead of some twenty instructions.
class SmallDivisor {
 public:
  __device__ explicit SmallDivisor(std::int32_t divisor)
      : divisor_(divisor), inverse_(divisor > 1 ? 0xffffffffU / static_cast<std::uint32_t>(divisor) + 1 : 0) {}
  [[nodiscard]] __device__ std::int32_t quotient(std::int32_t number) const {
    std::uint64_t const product = std::uint64_t{static_cast<std::uint32_t>(number)} * inverse_;
    return inverse_ == 0 ? number : static_cast<std::int32_t>(product >> 32);
  }
  [[nodiscard]] __device__ std::int32_t remainder(std::int32_t number) const {
    return number - quotient(number) * divisor_;
  }

 private:
  std::int32_t divisor_;
  std::uint32_t inverse_;  ///< of 2^32, rounded up; 0: divides by one
};

/// Rows of one slot: of this rank, and where it is a local one, from all ranks.
struct PlanSlotRows {
  std::uint32_t own = 0;
  std::uint32_t arrived = 0;
};

/// Choices of one source that a warp counts.
struct PlanBlockPart {
  std::int32_t source;
  std::int32_t begin;  ///< among the source's choices
  std::int32_t end;
};

/// The tables of one rank's plan, and what is read from them when counts have become sums.
struct PlanBlockTables {
  /// @param shared plan_block_bytes(), 16-byte aligned
  __device__ PlanBlockTables(PlanBlockShape const& given, PlanFinish const& finish, void* shared)
      : shape(given),
        memory(*static_cast<PlanBlockMemory*>(shared)),
        rank(finish.rank),
        first_slot(finish.first_slot),
        num_local(finish.num_local),
        choices(given.tokens * given.columns),
        warps(kPlanBlockWarps / given.ranks),
        by_tokens(given.tokens),
        by_columns(given.columns),
        by_choices(choices),
        by_part((choices + warps - 1) / warps),  // as hd::part_of() cuts
        pitch(plan_block_pitch(given)),
        slots(reinterpret_cast<std::int32_t*>(&memory + 1)),
        counts(reinterpret_cast<std::uint16_t*>(slots + given.ranks * choices)),
        places(counts + pitch * kPlanBlockWarps),
        expert_rows(places + given.ranks * choices),
        expert_listed(expert_rows + given.ranks * choices),
        own_rows(expert_listed + given.ranks * choices),
        own_listed(own_rows + choices) {}

  [[nodiscard]] __device__ static std::int32_t warp() { return static_cast<std::int32_t>(threadIdx.x / kWarp); }
  [[nodiscard]] __device__ bool is_local(std::int32_t slot) const {
    return slot >= first_slot && slot < first_slot + num_local;
  }
  /// Which choices this thread's warp counts; none for a source behind the last.
  [[nodiscard]] __device__ PlanBlockPart part() const {
    std::int32_t const source = warp() / warps;
    if (source >= shape.ranks) return {source, 0, 0};
    hd::PlanRange const range = hd::part_of({0, choices}, warp() - source * warps, warps);
    return {source, static_cast<std::int32_t>(range.begin), static_cast<std::int32_t>(range.end)};
  }

  /// Place of choice `i` of all among the rows of its slot from all sources.
  [[nodiscard]] __device__ std::int32_t place_in_bucket(std::int32_t i, std::int32_t slot) const {
    std::int32_t const source = by_choices.quotient(i);
    std::int32_t const of_choice = source * warps + by_part.quotient(i - source * choices);
    return counts[of_choice * pitch + slot] + places[i];
  }

  /// Where the row of token `token` of this rank for `rank` stands among that rank's.
  [[nodiscard]] __device__ bool is_sent(std::int32_t to, std::int32_t token) const {
    std::int32_t const index = rank * shape.tokens + token;
    return (memory.goes_to[to][index / kWarp] >> index % kWarp & 1U) != 0;
  }
  [[nodiscard]] __device__ std::int32_t place_in_sent(std::int32_t to, std::int32_t token) const {
    std::int32_t const index = rank * shape.tokens + token;
    std::uint32_t const lower = (1U << index % kWarp) - 1;
    return memory.sent_before[to][index / kWarp] + __popc(memory.goes_to[to][index / kWarp] & lower);
  }
  struct Token {
    std::int32_t source;
    std::int32_t token;  ///< of the source
  };
  /// The token of a thread; its source is none behind the last.
  [[nodiscard]] __device__ Token token_of(std::int32_t thread) const {
    std::int32_t const source = by_tokens.quotient(thread);
    return {source, thread - source * shape.tokens};
  }

  /// Sums over the tokens in front; sources in order, tokens() of each.
  [[nodiscard]] __device__ TokenSums before_token(std::int32_t source, std::int32_t token) const {
    return memory.before_token[source * shape.tokens + token];
  }
  [[nodiscard]] __device__ TokenSums up_to_token(std::int32_t source, std::int32_t token) const {
    std::int32_t const index = source * shape.tokens + token + 1;
    return index < shape.ranks * shape.tokens ? memory.before_token[index] : memory.all;
  }
  [[nodiscard]] __device__ bool is_received(std::int32_t source, std::int32_t token) const {
    return up_to_token(source, token).received() > before_token(source, token).received();
  }

  PlanBlockShape shape;
  PlanBlockMemory& memory;
  std::int32_t rank;
  std::int32_t first_slot;
  std::int32_t num_local;
  std::int32_t choices;    ///< of a source
  std::int32_t warps;      ///< of a source
  SmallDivisor by_tokens;  ///< of a source
  SmallDivisor by_columns;
  SmallDivisor by_choices;       ///< of a source
  SmallDivisor by_part;          ///< choices of a warp
  std::int32_t pitch;            ///< of counts
  std::int32_t* slots;           ///< [ranks * choices]
  std::uint16_t* counts;         ///< [warps of the block, slots]
  std::uint16_t* places;         ///< [ranks * choices] among the warp's choices of the slot
  std::uint16_t* expert_rows;    ///< [ranks * choices] the choice of every expert row
  std::uint16_t* expert_listed;  ///< [ranks * choices] expert rows by received row
  std::uint16_t* own_rows;       ///< [choices] the choice of every row of this rank
  std::uint16_t* own_listed;     ///< [choices] rows of this rank by token
};

}  // namespace switchyard::cuda
