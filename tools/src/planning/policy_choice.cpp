// SPDX-License-Identifier: Apache-2.0
#include "planning/policy_choice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "cli/progress.hpp"
#include "cli/table.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::cli {
namespace {

constexpr char kAll[] = "all";
constexpr char kIncremental[] = "incremental";

/// DeepSeek's policy drops its two levels in silence when groups do not fit the nodes: an operator must see that.
std::string note_of(std::string_view policy, PolicyRequest const& request) {
  if (policy != "deepseek") return std::string(policy);
  if (request.num_groups % request.num_nodes == 0) return "deepseek (hierarchical)";
  return fmt::format("deepseek (global: {} groups do not divide over {} nodes)", request.num_groups, request.num_nodes);
}

/// What one policy would give.
struct Candidate {
  std::string name;
  ExpertPlacement after;
  double mean_par = 0;
  double max_par = 0;
  std::int64_t fetches = 0;
  std::string refused{};

  [[nodiscard]] auto rank() const { return std::tuple(mean_par, fetches); }
};

Candidate try_policy(std::string const& name, PlanInputs const& inputs) {
  Candidate candidate{name, {}};
  try {
    auto const policy = make_policy(name);
    candidate.after = policy->place(inputs.source.load, request_for(*policy, inputs));
    ImbalanceReport const report = judge(inputs.source.load, candidate.after, inputs.request);
    candidate.mean_par = report.mean_par;
    candidate.max_par = report.max_par;
    candidate.fetches = totals(plan_move(inputs, candidate.after).plan).network_copies;
  } catch (Error const& error) {
    bool const is_refusal = error.code() == ErrorCode::invalid_argument || error.code() == ErrorCode::shape_mismatch;
    if (!is_refusal) throw;
    candidate.refused = error.message();
  }
  return candidate;
}

ReportSection compare(std::vector<Candidate> const& candidates, std::string const& best, std::int64_t expert_bytes) {
  TextTable table({"policy", "mean PAR", "worst layer", "fetches", "network bytes"});
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::string notes;
  for (Candidate const& candidate : candidates) {
    if (!candidate.refused.empty()) {
      notes += fmt::format("({} is left out: {})\n", candidate.name, candidate.refused);
      list.push_back({{"policy", candidate.name}, {"refused", candidate.refused}});
      continue;
    }
    table.add_row({candidate.name + (candidate.name == best ? " *" : ""), fmt::format("{:.4f}", candidate.mean_par),
                   fmt::format("{:.4f}", candidate.max_par), grouped(candidate.fetches),
                   human_bytes(candidate.fetches * expert_bytes)});
    list.push_back({{"policy", candidate.name},
                    {"mean_par", candidate.mean_par},
                    {"max_par", candidate.max_par},
                    {"fetches", candidate.fetches}});
  }
  return {"policies", list.dump(),
          table.str() + notes + "(* is the one planned below: lowest mean PAR, then fewest fetches)\n\n"};
}

PolicyChoice choose_best(PlanInputs const& inputs) {
  std::vector<Candidate> candidates;
  std::vector<std::string> const names = policy_names();
  Progress progress("policies", static_cast<std::int64_t>(names.size()));
  Candidate const* best = nullptr;
  candidates.reserve(names.size());
  for (std::string const& name : names) {
    candidates.push_back(try_policy(name, inputs));
    Candidate const& last = candidates.back();
    if (last.refused.empty() && (best == nullptr || last.rank() < best->rank())) best = &last;
    progress.set(static_cast<std::int64_t>(candidates.size()));
  }
  if (best == nullptr)
    throw UsageError(fmt::format("every policy refuses the request, first {}: {}", candidates.front().name,
                                 candidates.front().refused));
  return {best->name,  note_of(best->name, inputs.request),
          best->after, compare(candidates, best->name, inputs.expert_bytes),
          {},          {}};
}

}  // namespace

std::vector<std::string> policy_choices() {
  std::vector<std::string> names = policy_names();
  if (std::find(names.begin(), names.end(), kIncremental) == names.end()) names.emplace_back(kIncremental);
  names.emplace_back(kAll);
  return names;
}

PolicyChoice choose_policy(ParsedOptions const& options, PlanInputs const& inputs) {
  std::string const name = options.choice("policy", policy_choices());
  require_limits_fit(options, name);
  if (name == kAll) return choose_best(inputs);
  if (name == kIncremental) {
    IncrementalResult const result = run_incremental(options, inputs);
    return {name, name, result.placement, {}, pareto_of(result), duplicates_section(result)};
  }
  auto const policy = make_policy(name);
  return {name, note_of(name, inputs.request), policy->place(inputs.source.load, request_for(*policy, inputs)), {}, {},
          {}};
}

}  // namespace switchyard::cli
