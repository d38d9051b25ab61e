// SPDX-License-Identifier: Apache-2.0
#include "planning/sweep.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/lists.hpp"
#include "cli/progress.hpp"
#include "cli/table.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::cli {
namespace {

constexpr std::size_t kMaxCells = 4096;

SweepRow run_cell(PlacementPolicy const& policy, ExpertLoad const& load, PolicyRequest request,
                  std::int64_t expert_bytes) {
  SweepRow row{request.num_ranks, request.num_slots};
  try {
    ExpertPlacement const after = policy.place(load, request);
    ExpertPlacement const before = ExpertPlacement::trivial(load.num_layers(), load.num_experts(), after.layout());
    ImbalanceReport const report = judge(load, after, request);
    row.mean_par = report.mean_par;
    row.max_par = report.max_par;
    for (LayerImbalance const& layer : report.layers)
      row.bound_par += layer.lower_bound_par / static_cast<double>(report.layers.size());
    int most = 0;
    for (int rank = 0; rank < after.num_ranks(); ++rank) most = std::max(most, after.layout().slots_of(RankId(rank)));
    row.bytes_per_gpu = std::int64_t{most} * load.num_layers() * expert_bytes;
    row.moved_bytes = totals(plan_rebalance(before, after)).network_copies * expert_bytes;
  } catch (Error const& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    row.refused = error.message();
  }
  return row;
}

}  // namespace

SweepGrid parse_sweep(std::string const& text) {
  SweepGrid grid;
  std::vector<std::int64_t>* values = nullptr;
  for (std::string const& part : split(text, ',')) {
    std::size_t const equals = part.find('=');
    std::string value = part;
    if (equals != std::string::npos) {
      std::string const name = part.substr(0, equals);
      if (name != "slots" && name != "gpus")
        throw UsageError(
            fmt::format("--sweep has '{}': give slots=... and gpus=..., as in slots=256..320,gpus=32,64", name));
      values = name == "slots" ? &grid.slots : &grid.gpus;
      value = part.substr(equals + 1);
    }
    if (values == nullptr) throw UsageError(fmt::format("--sweep is '{}': begin with slots= or gpus=", text));
    for (std::int64_t const number : integer_range("sweep", value, 1, kMaxSlots)) values->push_back(number);
  }
  if (grid.slots.empty()) throw UsageError(fmt::format("--sweep is '{}': slots=... is missing", text));
  return grid;
}

std::vector<SweepRow> run_sweep(PlacementPolicy const& policy, ExpertLoad const& load, PolicyRequest const& base,
                                SweepGrid const& grid, std::int64_t expert_bytes) {
  std::vector<PolicyRequest> cells;
  for (std::int64_t const gpus : grid.gpus) {
    for (std::int64_t const slots : grid.slots) {
      if (grid.slots.size() > 1 && slots % gpus != 0) continue;
      PolicyRequest& request = cells.emplace_back(base);
      request.num_ranks = static_cast<int>(gpus);
      request.num_slots = static_cast<int>(slots);
    }
  }
  if (cells.empty() || cells.size() > kMaxCells)
    throw UsageError(
        fmt::format("--sweep has {} cells whose slots divide over the GPUs: give 1 to {}", cells.size(), kMaxCells));
  std::vector<SweepRow> rows;
  Progress progress("sweep", static_cast<std::int64_t>(cells.size()));
  for (PolicyRequest const& request : cells) {
    rows.push_back(run_cell(policy, load, request, expert_bytes));
    progress.set(static_cast<std::int64_t>(rows.size()));
  }
  return rows;
}

std::string sweep_table(std::vector<SweepRow> const& rows) {
  TextTable table({"GPUs", "slots", "mean PAR", "worst layer", "bound", "memory per GPU", "to move"});
  std::string notes;
  for (SweepRow const& row : rows) {
    if (!row.refused.empty()) {
      table.add_row({fmt::format("{}", row.gpus), fmt::format("{}", row.slots), "refused"});
      notes += fmt::format("{} GPUs, {} slots: {}\n", row.gpus, row.slots, row.refused);
      continue;
    }
    table.add_row({fmt::format("{}", row.gpus), fmt::format("{}", row.slots), fmt::format("{:.4f}", row.mean_par),
                   fmt::format("{:.4f}", row.max_par), fmt::format("{:.4f}", row.bound_par),
                   human_bytes(row.bytes_per_gpu), human_bytes(row.moved_bytes)});
  }
  return table.str() + notes;
}

std::string sweep_json(std::vector<SweepRow> const& rows, std::string_view policy) {
  nlohmann::ordered_json cells = nlohmann::ordered_json::array();
  for (SweepRow const& row : rows) {
    nlohmann::ordered_json cell{{"gpus", row.gpus}, {"slots", row.slots}};
    if (row.refused.empty()) {
      cell["mean_par"] = row.mean_par;
      cell["max_par"] = row.max_par;
      cell["mean_bound"] = row.bound_par;
      cell["bytes_per_gpu"] = row.bytes_per_gpu;
      cell["network_bytes"] = row.moved_bytes;
    } else {
      cell["refused"] = row.refused;
    }
    cells.push_back(cell);
  }
  return nlohmann::ordered_json{{"schema_version", 1}, {"policy", policy}, {"sweep", cells}}.dump(2) + "\n";
}

}  // namespace switchyard::cli
