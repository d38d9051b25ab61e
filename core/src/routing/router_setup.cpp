// SPDX-License-Identifier: Apache-2.0
#include "switchyard/internal/router_setup.hpp"

#include <cmath>

#include "switchyard/hd/router_loss.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

void require_rounding_dtype(char const* what, DType dtype) {
  SWITCHYARD_REQUIRE(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16, invalid_argument,
                     "router rounding of the {} to {}: only f32 (none), bf16 and f16 are offered", what,
                     to_string(dtype));
}

int scores_per_group(RouterConfig const& config) {
  return config.groups->scores_per_group != 0 ? config.groups->scores_per_group
                                              : config.top_k / config.groups->group_topk;
}

void validate_groups(RouterConfig const& config, int num_experts) {
  GroupLimit const& groups = *config.groups;
  SWITCHYARD_REQUIRE(groups.num_groups >= 1 && num_experts % groups.num_groups == 0, invalid_argument,
                     "{} experts cannot be split into {} equal groups: choose a divisor of the number of experts",
                     num_experts, groups.num_groups);
  SWITCHYARD_REQUIRE(groups.group_topk >= 1 && groups.group_topk <= groups.num_groups, invalid_argument,
                     "group_topk {} is outside [1, {}], the number of groups", groups.group_topk, groups.num_groups);
  int const group_size = num_experts / groups.num_groups;
  SWITCHYARD_REQUIRE(config.top_k <= checked_mul(groups.group_topk, group_size), invalid_argument,
                     "top_k {} exceeds the {} experts of {} groups: raise group_topk or lower top_k", config.top_k,
                     checked_mul(groups.group_topk, group_size), groups.group_topk);
  int const per_group = scores_per_group(config);
  SWITCHYARD_REQUIRE(per_group >= 1 && per_group <= group_size, invalid_argument,
                     "a group's score would sum its {} largest scores, but must sum between 1 and {} (experts per "
                     "group): scores_per_group is {}, where 0 stands for top_k / group_topk = {} / {}",
                     per_group, group_size, groups.scores_per_group, config.top_k, groups.group_topk);
}

}  // namespace

void validate(RouterConfig const& config, int num_experts) {
  SWITCHYARD_REQUIRE(num_experts >= 1 && config.top_k >= 1 && config.top_k <= num_experts, invalid_argument,
                     "router top_k {} is outside [1, {}], the number of experts", config.top_k, num_experts);
  SWITCHYARD_REQUIRE(std::isfinite(config.epsilon) && config.epsilon >= 0.0F, invalid_argument,
                     "router epsilon {} must be finite and not negative", config.epsilon);
  SWITCHYARD_REQUIRE(std::isfinite(config.scaling_factor), invalid_argument, "router scaling factor {} must be finite",
                     config.scaling_factor);
  require_rounding_dtype("logits", config.rounding.logits);
  require_rounding_dtype("scores", config.rounding.scores);
  require_rounding_dtype("weights", config.rounding.weights);
  if (config.groups) validate_groups(config, num_experts);
}

namespace internal {

hd::RouterStep router_step(RouterConfig const& config, int num_experts) {
  validate(config, num_experts);
  bool const normalises = config.top_k > 1 || config.normalise_single;
  GroupLimit const groups = config.groups.value_or(GroupLimit{});
  return hd::RouterStep{config.score_function,
                        normalises ? config.normalisation : Normalisation::none,
                        config.rounding.scores,
                        config.rounding.weights,
                        num_experts,
                        config.top_k,
                        groups.num_groups,
                        groups.group_topk,
                        config.groups ? scores_per_group(config) : 1,
                        config.epsilon,
                        config.scaling_factor};
}

hd::LogitRules logit_rules(RouterConfig const& config) {
  return {config.rounding.logits, config.nan_policy == NanPolicy::lowest,
          config.score_function == ScoreFunction::sigmoid};
}

void require_takes_bias(RouterConfig const& config) {
  SWITCHYARD_REQUIRE(config.score_function != ScoreFunction::softmax_post, invalid_argument,
                     "a selection bias with softmax_post would be added to raw logits: use sigmoid, sqrt_softplus or "
                     "softmax_pre");
}

void throw_bias_fault(std::int64_t expert, float value) {
  throw_error(
      ErrorCode::invalid_argument,
      fmt::format("selection bias of expert {} is {}: it must be finite; check the update rate", expert, value));
}

void throw_selection_fault(std::int64_t token, std::int64_t expert) {
  throw_error(
      ErrorCode::invalid_argument,
      fmt::format("selection value of token {}, expert {} is NaN: a choice needs comparable values", token, expert));
}

void throw_dropped_choice(std::int64_t choice, std::int64_t top_k) {
  throw_error(ErrorCode::invalid_argument,
              fmt::format("token {}, slot {} has no expert: the gradient needs the routing before dropping, with "
                          "gradient 0 at dropped weights",
                          choice / top_k, choice % top_k));
}

void throw_logit_fault(hd::LogitRules const& rules, hd::LogitFault fault, std::int64_t token, std::int64_t expert) {
  SWITCHYARD_REQUIRE(fault != hd::LogitFault::infinity, invalid_argument,
                     "logit of token {}, expert {} is +inf{}: it has no finite score; clamp the logits or look for an "
                     "overflow in the router's matrix product",
                     token, expert, rules.round_to == DType::f32 ? "" : " after rounding");
  throw_error(ErrorCode::invalid_argument,
              fmt::format("logit of token {}, expert {} is NaN: look for it in the router's input or weights, or route "
                          "with NanPolicy::lowest to treat it as -inf",
                          token, expert));
}

void throw_log_sum_fault(std::int64_t token, float value) {
  throw_error(
      ErrorCode::invalid_argument,
      fmt::format("log sum exp of token {} is {}: a z loss needs at least one finite logit per token", token, value));
}

float loss_factor(double numerator, std::initializer_list<std::int64_t> divisors) {
  SWITCHYARD_REQUIRE(std::isfinite(numerator), invalid_argument, "loss coefficient {} must be finite", numerator);
  double factor = numerator;
  for (std::int64_t const divisor : divisors) {
    SWITCHYARD_REQUIRE(
        divisor >= 0, invalid_argument,
        "a loss is divided by {}: top_k and numbers of tokens, layers and sequences must not be negative", divisor);
    if (divisor == 0) return 0.0F;
    factor = hd::divide_factor(factor, divisor);
  }
  return static_cast<float>(factor);
}

float balance_factor(BalanceLoss const& loss, std::int64_t num_experts) {
  SWITCHYARD_REQUIRE(loss.top_k >= 1, invalid_argument, "balance loss with top_k {}: it must be at least 1",
                     loss.top_k);
  return loss_factor(hd::mul_rn(loss.coefficient, static_cast<double>(num_experts)),
                     {loss.top_k, loss.counted_tokens, loss.averaged_tokens});
}

void require_sinkhorn(SinkhornOptions const& options) {
  SWITCHYARD_REQUIRE(options.tolerance >= 0.0F, invalid_argument, "Sinkhorn tolerance {} must not be negative or NaN",
                     options.tolerance);
  SWITCHYARD_REQUIRE(options.max_iterations >= 1, invalid_argument, "Sinkhorn needs at least one iteration, got {}",
                     options.max_iterations);
}

void throw_sinkhorn_bound(float tolerance, int iterations) {
  throw_error(ErrorCode::invalid_argument,
              fmt::format("Sinkhorn did not reach tolerance {} in {} iterations: raise one of them or scale the logits "
                          "down",
                          tolerance, iterations));
}

void throw_sinkhorn_overflow(int iteration) {
  throw_error(
      ErrorCode::invalid_argument,
      fmt::format("Sinkhorn's sums overflow in iteration {}: the logits are too large; subtract a maximum first",
                  iteration));
}

}  // namespace internal
}  // namespace switchyard
