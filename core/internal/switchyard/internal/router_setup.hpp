// SPDX-License-Identifier: Apache-2.0
/// What the routers of all backends share beside hd's arithmetic: a configuration as kernels take it, and the texts of
/// faults in data.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "switchyard/hd/router_step.hpp"
#include "switchyard/routing/losses.hpp"
#include "switchyard/routing/router.hpp"
#include "switchyard/routing/sinkhorn.hpp"

namespace switchyard::internal {

/// @throws as validate()
[[nodiscard]] hd::RouterStep router_step(RouterConfig const& config, int num_experts);
[[nodiscard]] hd::LogitRules logit_rules(RouterConfig const& config);

/// @throws Error{invalid_argument} where a bias would be added to raw logits
void require_takes_bias(RouterConfig const& config);

/// @return numerator / divisors, left to right in fp64, rounded to
/// fp32 once; 0 when a divisor is 0, because then there is nothing to sum.
[[nodiscard]] float loss_factor(double numerator, std::initializer_list<std::int64_t> divisors);
/// That of a balance loss. @throws Error{invalid_argument} also for top_k < 1
[[nodiscard]] float balance_factor(BalanceLoss const& loss, std::int64_t num_experts);

/// @throws Error{invalid_argument}
void require_sinkhorn(SinkhornOptions const& options);

// Each throws Error{invalid_argument} saying what is wrong and where.
[[noreturn]] void throw_bias_fault(std::int64_t expert, float value);
[[noreturn]] void throw_selection_fault(std::int64_t token, std::int64_t expert);
/// @param choice token * top_k + slot
[[noreturn]] void throw_dropped_choice(std::int64_t choice, std::int64_t top_k);
/// @param fault not none
[[noreturn]] void throw_logit_fault(hd::LogitRules const& rules, hd::LogitFault fault, std::int64_t token,
                                    std::int64_t expert);

/// @param value the log-sum-exp, not finite
[[noreturn]] void throw_log_sum_fault(std::int64_t token, float value);

[[noreturn]] void throw_sinkhorn_bound(float tolerance, int iterations);
[[noreturn]] void throw_sinkhorn_overflow(int iteration);

}  // namespace switchyard::internal
