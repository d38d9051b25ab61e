// SPDX-License-Identifier: Apache-2.0
#include "commands/verify_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/table.hpp"

namespace switchyard::cli {
namespace {

bool passed(RehearsalOutcome const& run) {
  return run.error.empty() && run.report.passed();
}

std::string problem_of(RehearsalOutcome const& run) {
  if (!run.error.empty()) return run.error;
  return run.report.passed() ? std::string() : run.report.first_mismatch->text;
}

std::string plan_lines(RebalancePlan const& plan) {
  RebalanceTotals const sums = totals(plan);
  return fmt::format("plan       {} layers x {} experts, {} slots on {} ranks, fingerprint {}\n",
                     plan.after.num_layers(), plan.after.num_experts(), plan.after.num_slots(), plan.after.num_ranks(),
                     plan.fingerprint().to_hex()) +
         fmt::format("moves      {} over the network, {} inside a rank, {} slots unchanged\n",
                     grouped(sums.network_copies), grouped(sums.local_copies + sums.duplicates),
                     grouped(sums.unchanged));
}

std::string plan_lines(RebalanceSchedule const& schedule) {
  ScheduleTotals const sums = totals(schedule);
  return fmt::format("schedule   {} layers x {} experts, {} slots on {} ranks, fingerprint {}\n",
                     schedule.after.num_layers(), schedule.after.num_experts(), schedule.after.num_slots(),
                     schedule.after.num_ranks(), schedule.fingerprint().to_hex()) +
         fmt::format("rounds     {} (bound {}), {} transfers, {} copies, {} spare rows, {} slots to reload\n",
                     grouped(sums.rounds), grouped(sums.bound_rounds),
                     grouped(sums.network_transfers + sums.intra_transfers), grouped(sums.copies), sums.spare_rows_used,
                     grouped(static_cast<std::int64_t>(schedule.reloads.size())));
}

std::string fingerprint_of(VerifyReport const& report) {
  if (!report.plan) return {};
  return std::visit([](auto const& plan) { return plan.fingerprint().to_hex(); }, *report.plan);
}

std::string violation_lines(std::vector<PlanViolation> const& violations) {
  if (violations.empty()) return "proof      ok: every list replayed on symbolic rows gives the target placement\n";
  std::string text = fmt::format("proof      WRONG: {} violation(s)\n", violations.size());
  for (PlanViolation const& violation : violations) {
    text += fmt::format("           {}: {}\n", to_string(violation.rule), violation.text);
  }
  return text;
}

std::string rehearsal_line(RehearsalOutcome const& run) {
  if (!passed(run)) return fmt::format("rehearsal  {} WRONG: {}\n", to_string(run.mode), problem_of(run));
  return fmt::format(
      "rehearsal  {} ok: {} rows, {} bytes equal on {} ranks; {} bytes sent, staging up to {} per rank\n",
      to_string(run.mode), grouped(run.report.rows_checked), grouped(run.report.bytes_checked), run.report.num_ranks,
      grouped(run.report.bytes_sent), human_bytes(run.report.peak_staging_bytes));
}

nlohmann::ordered_json rehearsal_json(RehearsalOutcome const& run) {
  return {{"mode", to_string(run.mode)},
          {"ok", passed(run)},
          {"problem", problem_of(run)},
          {"ranks", run.report.num_ranks},
          {"rows_checked", run.report.rows_checked},
          {"bytes_checked", run.report.bytes_checked},
          {"rows_untouched", run.report.rows_untouched},
          {"bytes_sent", run.report.bytes_sent},
          {"bytes_copied", run.report.bytes_copied},
          {"peak_staging_bytes", run.report.peak_staging_bytes}};
}

}  // namespace

bool VerifyReport::good() const {
  return plan.has_value() && violations.empty() && !rehearsals.empty() &&
         std::all_of(rehearsals.begin(), rehearsals.end(), passed);
}

std::string to_table(VerifyReport const& report) {
  std::string text;
  if (!report.plan) text += fmt::format("plan       WRONG: {}\n", report.refusal);
  if (report.plan) {
    text += std::visit([](auto const& plan) { return plan_lines(plan); }, *report.plan);
    text += violation_lines(report.violations);
  }
  for (RehearsalOutcome const& run : report.rehearsals) text += rehearsal_line(run);
  return text + fmt::format("{}: {}\n", report.file, report.good() ? "ok" : "WRONG");
}

std::string to_json(VerifyReport const& report) {
  nlohmann::ordered_json violations = nlohmann::ordered_json::array();
  for (PlanViolation const& violation : report.violations) {
    violations.push_back({{"rule", to_string(violation.rule)},
                          {"layer", violation.layer},
                          {"rank", violation.rank.value()},
                          {"text", violation.text}});
  }
  nlohmann::ordered_json rehearsals = nlohmann::ordered_json::array();
  for (RehearsalOutcome const& run : report.rehearsals) rehearsals.push_back(rehearsal_json(run));
  nlohmann::ordered_json const root{{"schema_version", 1},       {"plan", report.file},
                                    {"ok", report.good()},       {"fingerprint", fingerprint_of(report)},
                                    {"refusal", report.refusal}, {"violations", violations},
                                    {"rehearsals", rehearsals}};
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace switchyard::cli
