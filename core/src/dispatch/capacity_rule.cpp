// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/capacity_rule.hpp"

#include <cmath>
#include <numeric>
#include <string>

#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

constexpr std::size_t kMaxDigits = 18;
/// Larger capacities could not be counted in 64 bits once multiplied by experts and ranks.
constexpr double kLargestCapacity = 4.0e15;

[[noreturn]] void refuse_ratio(std::string_view text) {
  throw_error(
      ErrorCode::invalid_argument,
      fmt::format("capacity factor '{}': give a decimal such as 1.25 or a fraction such as 5/4, with at most {} "
                  "digits",
                  text.substr(0, 40), kMaxDigits));
}

CapacityRatio in_lowest_terms(std::int64_t numerator, std::int64_t denominator) {
  auto const divisor = std::gcd(numerator, denominator);
  return {numerator / divisor, denominator / divisor};
}

/// What both double rules demand of a factor, and the bound on what they return.
std::int64_t require_capacity(double factor, double capacity) {
  SWITCHYARD_REQUIRE(std::isfinite(factor) && factor >= 0.0, invalid_argument,
                     "capacity factor {}: must be finite and not negative; leave it unset for dropless routing",
                     factor);
  SWITCHYARD_REQUIRE(capacity <= kLargestCapacity, invalid_argument, "capacity factor {} gives {} rows per expert",
                     factor, capacity);
  return static_cast<std::int64_t>(capacity);
}

void require_counts(std::int64_t num_choices, int num_experts) {
  SWITCHYARD_REQUIRE(num_experts >= 1, invalid_argument, "capacity over {} experts: at least one is needed",
                     num_experts);
  SWITCHYARD_REQUIRE(num_choices >= 0, invalid_argument, "capacity of {} choices: must not be negative", num_choices);
}

}  // namespace

std::string_view to_string(CapacityRule rule) noexcept {
  switch (rule) {
    case CapacityRule::megatron: return "megatron";
    case CapacityRule::megablocks: return "megablocks";
    case CapacityRule::exact: return "exact";
  }
  return "unknown";
}

CapacityRatio parse_capacity_ratio(std::string_view text) {
  auto const separator = text.find_first_of("./");
  bool const fraction = separator != std::string_view::npos && text[separator] == '/';
  std::int64_t parts[] = {0, fraction ? 0 : 1};  // numerator and denominator
  std::size_t digits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i == separator) continue;
    if (text[i] < '0' || text[i] > '9' || ++digits > kMaxDigits) refuse_ratio(text);
    bool const behind = separator != std::string_view::npos && i > separator;
    std::int64_t& part = parts[fraction && behind ? 1 : 0];
    part = part * 10 + (text[i] - '0');
    if (behind && !fraction) parts[1] *= 10;
  }
  bool const complete = digits > 0 && separator != 0 && separator != text.size() - 1;
  if (!complete || parts[1] == 0) refuse_ratio(text);
  return in_lowest_terms(parts[0], parts[1]);
}

std::int64_t megatron_capacity(std::int64_t num_choices, int num_experts, double factor) {
  require_counts(num_choices, num_experts);
  return require_capacity(factor,
                          std::ceil(static_cast<double>(num_choices) / static_cast<double>(num_experts) * factor));
}

std::int64_t megablocks_capacity(std::int64_t num_tokens, int top_k, int num_experts, int world, double factor) {
  SWITCHYARD_REQUIRE(num_tokens >= 0 && top_k >= 0 && world >= 1, invalid_argument,
                     "capacity of {} tokens with top-{} on {} ranks: tokens and k must not be negative, ranks at "
                     "least 1",
                     num_tokens, top_k, world);
  auto const choices = checked_mul(checked_mul(num_tokens, top_k), world);
  require_counts(choices, num_experts);
  double const share = static_cast<double>(choices) / static_cast<double>(num_experts);
  return require_capacity(factor, std::trunc(factor * share));
}

std::int64_t exact_capacity(std::int64_t num_choices, int num_experts, CapacityRatio ratio) {
  require_counts(num_choices, num_experts);
  SWITCHYARD_REQUIRE(ratio.numerator >= 0 && ratio.denominator >= 1, invalid_argument,
                     "capacity factor {}/{}: the numerator must not be negative, the denominator at least 1",
                     ratio.numerator, ratio.denominator);
  auto const reduced = in_lowest_terms(ratio.numerator, ratio.denominator);
  auto const shared = in_lowest_terms(num_choices, checked_mul(num_experts, reduced.denominator));
  auto const product = checked_mul(shared.numerator, reduced.numerator);
  return product / shared.denominator + (product % shared.denominator != 0 ? 1 : 0);
}

}  // namespace switchyard
