// SPDX-License-Identifier: Apache-2.0
/// PlanReport: what `switchyard plan` tells an operator about a rebalance, as a table or as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planning/report_section.hpp"
#include "switchyard/io/load_reader.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard::cli {

/// Copies that one layer needs, in experts.
struct LayerMoves {
  std::int64_t network = 0;
  std::int64_t local = 0;  ///< copies inside a rank, duplicates of received rows included
};

struct PlanReport {
  io::LoadReadResult source;  ///< what was read and what was left out
  std::string load_name;
  std::string policy;
  std::string policy_note;  ///< the policy with the variant it took
  std::string out{};        ///< empty: nothing was written
  ImbalanceReport before;
  ImbalanceReport after;
  RebalanceTotals totals;
  std::vector<LayerMoves> moves;  ///< one per layer
  std::int64_t expert_bytes = 0;  ///< all tensors of one expert of one layer
  int num_ranks = 0;
  int num_slots = 0;
  std::string fingerprint;
  std::int64_t reloads = 0;               ///< slots that no living rank can fill
  ReportSection comparison{};             ///< of all policies; empty key = not asked for
  std::vector<ReportSection> sections{};  ///< answers to what was asked beyond the plan
};

/// @return the copies of every layer of `plan`.
[[nodiscard]] std::vector<LayerMoves> moves_per_layer(RebalancePlan const& plan);

/// @param all_layers false shows the layers that stay worst and the mean when there are many.
[[nodiscard]] std::string to_table(PlanReport const& report, bool all_layers);
/// @return one JSON object with schema_version; every layer, full precision.
[[nodiscard]] std::string to_json(PlanReport const& report);

}  // namespace switchyard::cli
