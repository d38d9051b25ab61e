// SPDX-License-Identifier: Apache-2.0
/// Writes plans and placements: integers only, one line per layer of a placement and per rank of a layer's transfers.
#include <fmt/format.h>

#include <array>

#include "plan_json_parts.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::io {

namespace {

using plan_json::append_int;
using plan_json::append_list;

void append_triple(std::string& out, std::array<std::int32_t, 3> const& values) {
  append_list(out, values, ",", [&](std::int32_t value) { append_int(out, value); });
}

void append_rank(std::string& out, std::size_t rank, RankTransfers const& lists) {
  auto const append_copy = [&](LocalCopy const& copy) {
    append_triple(out, {copy.expert.value(), copy.source_row.value(), copy.target_row.value()});
  };
  out += fmt::format("{{\"rank\":{},\"sends\":", rank);
  append_list(out, lists.sends, ",", [&](ExpertSend const& send) {
    append_triple(out, {send.expert.value(), send.source_row.value(), send.to.value()});
  });
  out += ",\"receives\":";
  append_list(out, lists.receives, ",", [&](ExpertReceive const& receive) {
    append_triple(out, {receive.expert.value(), receive.target_row.value(), receive.from.value()});
  });
  out += ",\"local_copies\":";
  append_list(out, lists.local_copies, ",", append_copy);
  out += ",\"duplicates\":";
  append_list(out, lists.duplicates, ",", append_copy);
  out += '}';
}

void append_layers(std::string& out, std::vector<LayerTransfers> const& layers) {
  std::size_t layer_index = 0;
  append_list(out, layers, ",", [&](LayerTransfers const& layer) {
    out += fmt::format("\n{{\"layer\":{},\"ranks\":", layer_index++);
    std::size_t rank_index = 0;
    append_list(out, layer.ranks, ",", [&](RankTransfers const& rank) {
      out += '\n';
      append_rank(out, rank_index++, rank);
    });
    out += '}';
  });
}

}  // namespace

std::string to_json(RebalancePlan const& plan, PlanNotes const& notes) {
  std::string out;
  plan_json::append_frame(out, plan_json::kPlanKind, RebalancePlan::kSchemaVersion, plan.fingerprint(), notes,
                          plan.mapping, plan.before, plan.after);
  out += ",\n\"layers\": ";
  append_layers(out, plan.layers);
  return out + "\n}\n";
}

std::string to_json(ExpertPlacement const& placement) {
  std::string out =
      fmt::format("{{\n\"kind\": \"{}\",\n\"schema_version\": {},\n\"fingerprint\": \"{}\",\n",
                  plan_json::kPlacementKind, plan_json::kPlacementSchemaVersion, placement.fingerprint().to_hex());
  plan_json::append_placement(out, placement);
  return out + "\n}\n";
}

}  // namespace switchyard::io
