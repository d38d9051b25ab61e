// SPDX-License-Identifier: Apache-2.0
/// Writes plans and placements: integers only, one line per layer of a placement and per rank of a layer's transfers.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "plan_json.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::io {

namespace {

/// Appends a JSON array, elements written by `write` and separated by `separator`.
template <typename List, typename Write>
void append_list(std::string& out, List const& list, std::string_view separator, Write const& write) {
  out += '[';
  bool first = true;
  for (auto const& element : list) {
    out += first ? std::string_view{} : separator;
    first = false;
    write(element);
  }
  out += ']';
}

void append_int(std::string& out, std::int64_t value) {
  fmt::format_int const digits(value);
  out.append(digits.data(), digits.size());
}

/// One integer per element, e.g. ids.
template <typename List>
void append_ids(std::string& out, List const& ids) {
  append_list(out, ids, ",", [&](auto id) { append_int(out, id.value()); });
}

void append_triple(std::string& out, std::array<std::int32_t, 3> const& values) {
  append_list(out, values, ",", [&](std::int32_t value) { append_int(out, value); });
}

/// Bytes that are no UTF-8 (a file name may hold them) are replaced, so that what is written can be read.
std::string quoted(std::string const& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void append_slots_per_rank(std::string& out, SlotLayout const& layout) {
  std::vector<RankId> ranks;
  for (RankId rank(0); rank.value() < layout.num_ranks(); ++rank) {
    ranks.push_back(rank);
  }
  append_list(out, ranks, ",", [&](RankId rank) { append_int(out, layout.slots_of(rank)); });
}

/// The members of a placement, without the braces.
void append_placement(std::string& out, ExpertPlacement const& placement) {
  out += fmt::format("\"num_experts\": {},\n\"slots_per_rank\": ", placement.num_experts());
  append_slots_per_rank(out, placement.layout());
  out += ",\n\"slot_to_expert\": [";
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    out += layer == 0 ? "\n" : ",\n";
    append_ids(out, placement.layer(layer));
  }
  out += "\n]";
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
  std::string out = fmt::format("{{\n\"kind\": \"{}\",\n\"schema_version\": {},\n\"fingerprint\": \"{}\",\n", kPlanKind,
                                RebalancePlan::kSchemaVersion, plan.fingerprint().to_hex());
  out += fmt::format("\"notes\": {{\"tool\": {}, \"policy\": {}, \"load\": {}}},\n", quoted(notes.tool),
                     quoted(notes.policy), quoted(notes.load));
  out += fmt::format("\"mapping\": {{\"mode\": \"{}\", \"new_rank_of\": ", to_string(plan.mapping.mode));
  append_ids(out, plan.mapping.new_rank_of);
  out += "},\n\"before\": {\n";
  append_placement(out, plan.before);
  out += "},\n\"after\": {\n";
  append_placement(out, plan.after);
  out += "},\n\"layers\": ";
  append_layers(out, plan.layers);
  return out + "\n}\n";
}

std::string to_json(ExpertPlacement const& placement) {
  std::string out = fmt::format("{{\n\"kind\": \"{}\",\n\"schema_version\": {},\n\"fingerprint\": \"{}\",\n",
                                kPlacementKind, kPlacementSchemaVersion, placement.fingerprint().to_hex());
  append_placement(out, placement);
  return out + "\n}\n";
}

}  // namespace switchyard::io
