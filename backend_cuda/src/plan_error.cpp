// SPDX-License-Identifier: Apache-2.0
#include "plan_error.hpp"

#include "switchyard/internal/require.hpp"

namespace switchyard::cuda {
namespace {

[[noreturn]] void throw_choice_error(PlanError kind, std::int64_t choice, PlanErrorFacts const& facts) {
  std::int64_t const token = choice / facts.columns;
  std::int64_t const slot = choice % facts.columns;
  switch (kind) {
    case PlanError::bad_id:
      throw_error(ErrorCode::invalid_argument,
                  fmt::format("token {}, slot {} of rank {} names an expert outside the model: valid are -1 (dropped) "
                              "and the model's experts",
                              token, slot, facts.rank));
    case PlanError::lost_expert:
      throw_error(
          ErrorCode::invalid_placement,
          fmt::format("token {}, slot {} of rank {} chose an expert without a slot: the placement lost it; drop "
                      "the choice (-1) or plan a placement that holds it",
                      token, slot, facts.rank));
    case PlanError::named_twice:
      throw_error(ErrorCode::invalid_argument,
                  fmt::format("token {} of rank {} names an expert twice, the second time in slot {}: a capacity needs "
                              "a routing that a dense map can say",
                              token, facts.rank, slot));
    default:
      throw_error(ErrorCode::invalid_argument,
                  fmt::format("weight of token {}, slot {} of rank {} is NaN: the router produced it; mask the token "
                              "with -1 or fix the scores",
                              token, slot, facts.rank));
  }
}

}  // namespace

std::int64_t numbered_columns(DevicePlannerConfig const& config, std::int64_t columns) {
  bool const is_before_capacity = config.form == RoutingForm::topk;
  return is_before_capacity ? config.columns : columns;
}

void throw_plan_error(std::uint64_t word, PlanErrorFacts const& facts) {
  auto const kind = static_cast<PlanError>(word >> kPlanErrorShift);
  std::uint64_t const detail = word & kPlanDetailMask;
  SWITCHYARD_REQUIRE(kind != PlanError::other_setup, desync,
                     "rank {} announced another configuration than rank {} plans with, or had an error before: its "
                     "rows were left out; check() there names it",
                     detail, facts.rank);
  SWITCHYARD_REQUIRE(kind != PlanError::overflow, shape_mismatch,
                     "rank {} would receive {} expert rows but has room for {}: routing is too uneven for the budget; "
                     "allow {} rows",
                     facts.rank, detail, facts.max_expert_rows, detail);
  throw_choice_error(kind, static_cast<std::int64_t>(kPlanDetailMask - detail), facts);
}

}  // namespace switchyard::cuda
