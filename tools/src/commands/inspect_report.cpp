// SPDX-License-Identifier: Apache-2.0
#include "commands/inspect_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cli/table.hpp"

namespace switchyard::cli {
namespace {

/// The stages' names in plan files, by position in the variant.
constexpr std::string_view kStageNames[] = {"permute", "exchange", "gather", "sort_chunks", "repeat"};

std::int64_t rows_sent(DispatchPlan const& plan) {
  return std::accumulate(plan.rows_per_slot.begin(), plan.rows_per_slot.end(), std::int64_t{0});
}

std::int64_t largest_block(DispatchPlan const& plan) {
  auto const& rows = plan.tokens_per_local_expert;
  return rows.empty() ? 0 : *std::max_element(rows.begin(), rows.end());
}

/// "permute 2>4, exchange 4>4": rows before and after every stage. Plans that break rules are shown without numbers.
std::string stage_text(DispatchPlan const& plan, bool sound) {
  std::string text;
  for (auto const& stage : plan.stages) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", name_of_stage(stage));
    if (sound) text += fmt::format(" {}>{}", input_rows(stage), output_rows(stage));
  }
  return text;
}

std::string dispatch_lines(InspectReport const& report) {
  auto const& setup = report.dispatch.front().setup;
  std::string text =
      fmt::format("plan       dispatch, {} rank(s), digest {}\n", report.dispatch.size(),
                  digest_of(report.dispatch).to_hex()) +
      fmt::format("setup      {}, {} rows, restore {}, tp {} x ep {}, layer {}, {} experts in {} slots, placement {}\n",
                  to_string(setup.family), to_string(setup.row_order), to_string(setup.restore), setup.grid.tp,
                  setup.grid.ep, setup.layer, setup.num_experts, setup.num_slots, setup.placement.to_hex());
  if (auto const& limit = report.dispatch.front().capacity)
    text += fmt::format("capacity   rank {}: {} rows per (source rank, expert){}\n",
                        report.dispatch.front().rank.value(), limit->rows, limit->padded ? ", padded" : "");
  TextTable table({"rank", "tokens", "sent", "received", "largest expert", "fingerprint", "stages"});
  for (auto const& plan : report.dispatch)
    table.add_row({fmt::format("{}", plan.rank.value()), grouped(plan.num_tokens), grouped(rows_sent(plan)),
                   grouped(plan.num_expert_rows()), grouped(largest_block(plan)), plan.fingerprint().to_hex(),
                   stage_text(plan, report.violations.empty())});
  return text + "\n" + table.str() + "\n";
}

std::string rebalance_lines(RebalancePlan const& plan) {
  auto const sums = totals(plan);
  return fmt::format("plan       rebalance, digest {}\n", plan.fingerprint().to_hex()) +
         fmt::format("shape      {} layers x {} experts, {} slots on {} ranks\n", plan.after.num_layers(),
                     plan.after.num_experts(), plan.after.num_slots(), plan.after.num_ranks()) +
         fmt::format("moves      {} over the network, {} inside a rank, {} slots unchanged\n",
                     grouped(sums.network_copies), grouped(sums.local_copies + sums.duplicates),
                     grouped(sums.unchanged));
}

nlohmann::ordered_json rank_json(DispatchPlan const& plan, bool sound) {
  nlohmann::ordered_json stages = nlohmann::ordered_json::array();
  for (auto const& stage : plan.stages) {
    nlohmann::ordered_json one{{"stage", name_of_stage(stage)}};
    if (sound) one.update({{"input_rows", input_rows(stage)}, {"output_rows", output_rows(stage)}});
    stages.push_back(one);
  }
  return {{"rank", plan.rank.value()},
          {"fingerprint", plan.fingerprint().to_hex()},
          {"tokens", plan.num_tokens},
          {"rows_sent", rows_sent(plan)},
          {"rows_received", plan.num_expert_rows()},
          {"tokens_per_local_expert", plan.tokens_per_local_expert},
          {"stages", stages}};
}

void add_dispatch(nlohmann::ordered_json& root, InspectReport const& report) {
  auto const& setup = report.dispatch.front().setup;
  root["kind"] = "dispatch_plan";
  root["digest"] = digest_of(report.dispatch).to_hex();
  root["setup"] = {{"family", to_string(setup.family)},
                   {"row_order", to_string(setup.row_order)},
                   {"restore", to_string(setup.restore)},
                   {"tp", setup.grid.tp},
                   {"ep", setup.grid.ep},
                   {"layer", setup.layer},
                   {"num_experts", setup.num_experts},
                   {"num_slots", setup.num_slots},
                   {"placement", setup.placement.to_hex()}};
  root["ranks"] = nlohmann::ordered_json::array();
  for (auto const& plan : report.dispatch) root["ranks"].push_back(rank_json(plan, report.violations.empty()));
}

void add_rebalance(nlohmann::ordered_json& root, RebalancePlan const& plan) {
  auto const sums = totals(plan);
  root["kind"] = "rebalance_plan";
  root["digest"] = plan.fingerprint().to_hex();
  root["layers"] = plan.after.num_layers();
  root["num_experts"] = plan.after.num_experts();
  root["num_slots"] = plan.after.num_slots();
  root["num_ranks"] = plan.after.num_ranks();
  root["network_copies"] = sums.network_copies;
  root["local_copies"] = sums.local_copies;
  root["duplicates"] = sums.duplicates;
  root["unchanged"] = sums.unchanged;
}

template <typename Violation>
void add_violations(std::vector<std::string>& texts, std::vector<Violation> const& violations) {
  for (auto const& violation : violations)
    texts.push_back(fmt::format("{}: {}", to_string(violation.rule), violation.text));
}

}  // namespace

std::string_view name_of_stage(DispatchStage const& stage) noexcept {
  return stage.index() < std::size(kStageNames) ? kStageNames[stage.index()] : "stage";
}

Fingerprint digest_of(std::span<DispatchPlan const> plans) {
  if (plans.size() == 1) return plans.front().fingerprint();
  FingerprintBuilder builder;
  for (std::size_t i = 0; i < plans.size(); ++i)
    builder.add_at(1, i, static_cast<std::int64_t>(plans[i].fingerprint().value));
  return builder.result();
}

void find_violations(InspectReport& report) {
  if (report.rebalance) add_violations(report.violations, validate(*report.rebalance));
  if (report.dispatch.empty()) return;
  add_violations(report.violations, report.group ? validate_group(report.dispatch) : validate(report.dispatch.front()));
}

std::string to_table(InspectReport const& report) {
  std::string text;
  if (!report.refusal.empty()) text += fmt::format("plan       WRONG: {}\n", report.refusal);
  if (report.rebalance) text += rebalance_lines(*report.rebalance);
  if (!report.dispatch.empty()) text += dispatch_lines(report);
  for (auto const& violation : report.violations) text += fmt::format("WRONG      {}\n", violation);
  return text + fmt::format("{}: {}\n", report.file, report.good() ? "ok" : "WRONG");
}

std::string to_json(InspectReport const& report) {
  nlohmann::ordered_json root{{"schema_version", 1}, {"file", report.file}, {"ok", report.good()}};
  if (report.rebalance) add_rebalance(root, *report.rebalance);
  if (!report.dispatch.empty()) add_dispatch(root, report);
  root["refusal"] = report.refusal;
  root["violations"] = report.violations;
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace switchyard::cli
