// SPDX-License-Identifier: Apache-2.0
#include "commands/memory_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/table.hpp"

namespace switchyard::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string_view name_of(RebalanceStaging staging) {
  if (staging == RebalanceStaging::none) return "none";
  return staging == RebalanceStaging::buffered ? "buffered" : "in-place";
}

std::string quant_name(MemoryRequest const& request) {
  return request.quant ? std::string(to_string(request.quant->scheme)) : "none";
}

std::vector<std::string> row_of(std::string const& name, MemoryAmount const& bytes, bool exact) {
  std::vector<std::string> row = {name};
  if (exact) row.push_back(bytes.exact ? human_bytes(*bytes.exact) : "");
  row.push_back(human_bytes(bytes.expected));
  row.push_back(human_bytes(bytes.worst));
  return row;
}

/// One table per part; formulas stand behind it, because they are long.
std::string part(std::string const& title, std::vector<MemoryBuffer> const& buffers, MemoryAmount const* total,
                 bool exact) {
  if (buffers.empty()) return {};
  std::vector<std::string> header = {title};
  if (exact) header.emplace_back("exact");
  std::size_t width = 0;  // formulas read better with their starts aligned
  for (MemoryBuffer const& buffer : buffers) width = std::max(width, buffer.formula.size());
  header.insert(header.end(), {"expected", "worst case", fmt::format(" {:<{}}", "formula", width)});
  TextTable table(header);
  for (MemoryBuffer const& buffer : buffers) {
    auto row = row_of("  " + buffer.name, buffer.bytes, exact);
    row.push_back(fmt::format(" {:<{}}", buffer.formula, width));
    table.add_row(std::move(row));
  }
  if (total != nullptr) table.add_row(row_of("  total per rank", *total, exact));
  return table.str() + "\n";
}

std::string deepep_lines(MemoryReport const& report) {
  if (!report.plan.deepep)
    return fmt::format("DeepEP low latency: none for hidden {}, which is no multiple of 128\n",
                       report.request.shape.hidden);
  DeepEpLowLatencyBuffer const& buffer = *report.plan.deepep;
  return fmt::format(
             "DeepEP low latency: {} bytes ({}) for {} tokens per rank; messages of {} (dispatch) and {} (combine)\n",
             grouped(buffer.allocated_bytes), human_bytes(buffer.allocated_bytes), report.request.tokens_per_rank,
             buffer.dispatch_message_bytes, buffer.combine_message_bytes) +
         (buffer.too_large ? "  too large: its kernels take less than 2^31 - 1 words of 16 bytes; lower the tokens per "
                             "rank or the slots\n"
                           : "");
}

Json json_of(MemoryAmount const& bytes) {
  Json json{{"expected", bytes.expected}, {"worst", bytes.worst}};
  if (bytes.exact) json["exact"] = *bytes.exact;
  return json;
}

Json json_of(std::vector<MemoryBuffer> const& buffers) {
  Json list = Json::array();
  for (MemoryBuffer const& buffer : buffers)
    list.push_back({{"name", buffer.name}, {"bytes", json_of(buffer.bytes)}, {"formula", buffer.formula}});
  return list;
}

Json json_of(DeepEpLowLatencyBuffer const& buffer) {
  return {{"dispatch_message_bytes", buffer.dispatch_message_bytes},
          {"combine_message_bytes", buffer.combine_message_bytes},
          {"send_bytes", buffer.send_bytes},
          {"receive_bytes", buffer.receive_bytes},
          {"signal_bytes", buffer.signal_bytes},
          {"layout_bytes", buffer.layout_bytes},
          {"allocated_bytes", buffer.allocated_bytes},
          {"too_large", buffer.too_large}};
}

Json json_of(MemoryRequest const& request) {
  MoeShape const& shape = request.shape;
  return {{"model", shape.name},
          {"hidden", shape.hidden},
          {"intermediate", shape.intermediate},
          {"experts", shape.experts},
          {"topk", shape.top_k},
          {"layers", shape.layers},
          {"shared_experts", shape.shared_experts},
          {"gated", shape.gated},
          {"biases", shape.biases},
          {"ep", request.grid.ep},
          {"tp", request.grid.tp},
          {"tokens_per_rank", request.tokens_per_rank},
          {"slots", request.slots == 0 ? shape.experts : request.slots},
          {"dtype", to_string(request.dtype)},
          {"quant", quant_name(request)},
          {"weights", request.weights.name},
          {"staging", name_of(request.staging)},
          {"spare_rows", request.spare_rows}};
}

}  // namespace

std::string to_table(MemoryReport const& report) {
  MoeShape const& shape = report.request.shape;
  MemoryPlan const& plan = report.plan;
  bool const exact = report.request.routed.has_value();
  std::string text = fmt::format(
      "model      {}: {} layers of {} experts, top-{}, hidden {}, intermediate {}, {} shared\n"
      "group      EP {} x TP {}, {} slots per rank, {} tokens per rank\n"
      "rows       {} bytes in {}, {} bytes as sent ({}); one expert of one layer {} ({})\n\n",
      shape.name, shape.layers, shape.experts, shape.top_k, shape.hidden, shape.intermediate, shape.shared_experts,
      report.request.grid.ep, report.request.grid.tp, plan.slots_per_rank, report.request.tokens_per_rank,
      plan.row_bytes, to_string(report.request.dtype), plan.wire_row_bytes, quant_name(report.request),
      human_bytes(plan.expert_bytes), report.request.weights.name);
  text += part("weights", plan.weights, nullptr, exact) + part("workspace", plan.workspace, nullptr, exact);
  text += part(fmt::format("rebalance ({} counts)", name_of(report.request.staging)), plan.staging, nullptr, exact);
  for (FamilyMemory const& family : plan.families) text += part(family.name, family.buffers, &family.total, exact);
  text += part("vLLM's kernels (in no total)", plan.peer_workspaces, nullptr, exact);
  return text + deepep_lines(report);
}

std::string to_json(MemoryReport const& report) {
  MemoryPlan const& plan = report.plan;
  Json root{{"schema_version", 1},
            {"request", json_of(report.request)},
            {"slots_per_rank", plan.slots_per_rank},
            {"expert_bytes", plan.expert_bytes},
            {"row_bytes", plan.row_bytes},
            {"wire_row_bytes", plan.wire_row_bytes},
            {"weights", json_of(plan.weights)},
            {"workspace", json_of(plan.workspace)},
            {"rebalance", json_of(plan.staging)},
            {"peer_workspaces", json_of(plan.peer_workspaces)}};
  root["families"] = Json::array();
  for (FamilyMemory const& family : plan.families)
    root["families"].push_back(
        {{"name", family.name}, {"buffers", json_of(family.buffers)}, {"total_bytes", json_of(family.total)}});
  if (plan.deepep) root["deepep_low_latency"] = json_of(*plan.deepep);
  return root.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace switchyard::cli
