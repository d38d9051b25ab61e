// SPDX-License-Identifier: Apache-2.0
/// CapacityRule: how a capacity factor becomes a number of rows, as each peer rounds it.
#pragma once

#include <cstdint>
#include <string_view>

namespace switchyard {

enum class CapacityRule : std::uint8_t {
  megatron,    ///< ceil((choices / experts) * factor) in double, division first
  megablocks,  ///< trunc(factor * (choices / experts)) in double; a result of 0 means no limit
  exact,       ///< the true ceiling of choices * ratio / experts, in integers
};
[[nodiscard]] std::string_view to_string(CapacityRule rule) noexcept;

/// A capacity factor without rounding. Neither number is negative, the denominator is at least 1.
struct CapacityRatio {
  std::int64_t numerator = 1;
  std::int64_t denominator = 1;
  friend bool operator==(CapacityRatio const&, CapacityRatio const&) = default;
};

/// @param text a decimal such as "1.25" or a fraction such as "5/4", at most 18 digits. @return it in lowest terms.
/// @throws Error{invalid_argument} for anything else, signs and exponents included.
[[nodiscard]] CapacityRatio parse_capacity_ratio(std::string_view text);

/// Megatron's capacity per (source rank, expert): ceil((choices / experts) * factor) in IEEE double, division first.
/// @param num_choices tokens times top_k. @throws Error{invalid_argument} for experts < 1, negative choices, or a
/// factor that is
///        negative or not finite. Source: Megatron-Core moe_utils.get_capacity; this is not the exact rational ceiling
///        (100 choices, 2 experts, 1.1 give 56).
[[nodiscard]] std::int64_t megatron_capacity(std::int64_t num_choices, int num_experts, double factor);

/// MegaBlocks' capacity of an expert: trunc(factor * (top_k * tokens * world / experts)), the bracket first, in IEEE
/// double. The caller passes the tokens that MegaBlocks passes: in parallel_forward_once those are the rows after
/// gather and repeat, top_k times hidden shards times more, which makes that bound looser by the same factor.
/// @return rows; 0 means no limit, and a small batch with a positive factor can truncate to it (1 token, top-1 of 8
///         experts, factor 1), which silently turns dropping off: the peer's behaviour, kept.
/// @throws Error{invalid_argument} for experts or world < 1, negative tokens or top_k, a product over 64 bits, or a
///         factor that is negative, not finite or too large. Source: megablocks layers/moe.py expert_capacity.
[[nodiscard]] std::int64_t megablocks_capacity(std::int64_t num_tokens, int top_k, int num_experts, int world,
                                               double factor);

/// The exact ceiling of choices * ratio / experts: 100 choices, 2 experts, 11/10 give 55, where Megatron's gives 56.
/// @throws Error{invalid_argument} for experts < 1, negative choices, a malformed ratio, or a product over 64 bits.
[[nodiscard]] std::int64_t exact_capacity(std::int64_t num_choices, int num_experts, CapacityRatio ratio);

}  // namespace switchyard
