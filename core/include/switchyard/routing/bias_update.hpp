// SPDX-License-Identifier: Apache-2.0
/// Loss-free balancing: the selection bias follows the load by its sign alone.
#pragma once

#include <cstdint>
#include <span>

namespace switchyard {

/// bias[e] += rate * sign(mean(counts) - counts[e]): one fp32 addition or subtraction of `rate`, nothing for an expert
/// exactly at the mean. The comparison is made in integers: experts * counts[e] against the sum, without overflow. The
/// peer reduces counts in the model's dtype; in bf16 that flips signs (40,840 becomes 41,216 or 40,704).
/// @param bias   [experts] fp32, updated in place; untouched when an error is thrown
/// @param counts [experts] tokens per expert summed over ranks and micro-batches since the last update. sign() hides a
/// uniform doubling, not a partial one: count recomputed forwards once.
/// @throws Error{shape_mismatch} for lengths, Error{invalid_argument} for a negative count, a sum beyond 63 bits, a
/// rate that is negative or not finite, a bias that is not finite.
/// @see Wang et al., "Auxiliary-loss-free load balancing strategy for mixture-of-experts", 2024; Megatron-Core
/// moe_utils.get_updated_expert_bias
void update_selection_bias(std::span<float> bias, std::span<std::int64_t const> counts, float rate);

}  // namespace switchyard
