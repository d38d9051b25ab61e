// SPDX-License-Identifier: Apache-2.0
#include "plan_json_parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::io::plan_json {

namespace {

ScaleMode read_mode(JsonValue const& value) {
  auto const name = value.as_string();
  for (auto const mode : {ScaleMode::none, ScaleMode::scale_up, ScaleMode::scale_down}) {
    if (name == to_string(mode)) {
      return mode;
    }
  }
  value.fail("the mode is none, scale_up or scale_down");
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

}  // namespace

std::int32_t narrow(std::int64_t checked) {
  return static_cast<std::int32_t>(checked);
}

void require_header(JsonValue const& root, std::string_view kind, int schema_version) {
  if (root.at("kind").as_string() != kind) {
    root.at("kind").fail(fmt::format("the kind \"{}\" is required here", kind));
  }
  auto const version = root.at("schema_version").as_int(1, kMaxId);
  if (version != schema_version) {
    root.at("schema_version").fail(fmt::format("this build reads version {}", schema_version));
  }
}

void require_fingerprint(JsonValue const& root, Fingerprint computed, std::string const& source_name) {
  auto const stored = Fingerprint::from_hex(root.at("fingerprint").as_string());
  if (!stored) {
    root.at("fingerprint").fail("16 hexadecimal digits are required");
  }
  SWITCHYARD_REQUIRE(*stored == computed, invalid_plan,
                     "{}: the file says fingerprint {}, its content has {}: it was altered or damaged after it was "
                     "written, so make it again",
                     source_name, stored->to_hex(), computed.to_hex());
}

SlotLayout read_layout(JsonValue const& value) {
  auto const counts = value.int_array(0, kMaxId);
  std::int64_t total = 0;
  for (std::int64_t const count : counts) {
    total += count;
    if (total > kMaxId) {
      value.fail("the counts of slots add up to more than 2^31 - 1");
    }
  }
  if (counts.empty()) {
    return SlotLayout();
  }
  std::vector<std::int32_t> narrow_counts(counts.size());
  std::transform(counts.begin(), counts.end(), narrow_counts.begin(), narrow);
  return SlotLayout(narrow_counts);
}

std::vector<ExpertId> read_map(JsonValue const& rows, std::size_t slots, std::int64_t min, std::int64_t max) {
  std::vector<ExpertId> ids;
  for (std::size_t layer = 0; layer < rows.array_size(); ++layer) {
    static_cast<void>(rows.at(layer).array_size(slots));
    for (std::int64_t const id : rows.at(layer).int_array(min, max)) {
      ids.emplace_back(narrow(id));
    }
  }
  return ids;
}

ExpertPlacement read_placement(JsonValue const& value) {
  auto const num_experts = value.at("num_experts").as_int(0, kMaxExpertsInFile);
  auto layout = read_layout(value.at("slots_per_rank"));
  auto const rows = value.at("slot_to_expert");
  auto ids = read_map(rows, to_size(layout.num_slots()), kMinId, kMaxId);
  return ExpertPlacement(static_cast<int>(rows.array_size()), static_cast<int>(num_experts), std::move(layout),
                         std::move(ids));
}

ExpertPlacement read_placement_member(JsonValue const& value) {
  value.only_members({"num_experts", "slots_per_rank", "slot_to_expert"});
  return read_placement(value);
}

std::vector<RankId> read_ranks(JsonValue const& value) {
  std::vector<RankId> ranks;
  for (std::int64_t const rank : value.int_array(kMinId, kMaxId)) {
    ranks.emplace_back(narrow(rank));
  }
  return ranks;
}

RankMapping read_mapping(JsonValue const& value) {
  value.only_members({"mode", "new_rank_of"});
  return {read_mode(value.at("mode")), read_ranks(value.at("new_rank_of"))};
}

void check_notes(JsonValue const& notes) {
  notes.only_members({"tool", "policy", "load"});
  for (std::string_view const key : {"tool", "policy", "load"}) {
    static_cast<void>(notes.at(key).as_string());
  }
}

void append_int(std::string& out, std::int64_t value) {
  fmt::format_int const digits(value);
  out.append(digits.data(), digits.size());
}

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

void append_frame(std::string& out, std::string_view kind, int schema_version, Fingerprint fingerprint,
                  PlanNotes const& notes, RankMapping const& mapping, ExpertPlacement const& before,
                  ExpertPlacement const& after) {
  out += fmt::format("{{\n\"kind\": \"{}\",\n\"schema_version\": {},\n\"fingerprint\": \"{}\",\n", kind, schema_version,
                     fingerprint.to_hex());
  out += fmt::format("\"notes\": {{\"tool\": {}, \"policy\": {}, \"load\": {}}},\n", quoted(notes.tool),
                     quoted(notes.policy), quoted(notes.load));
  out += fmt::format("\"mapping\": {{\"mode\": \"{}\", \"new_rank_of\": ", to_string(mapping.mode));
  append_ids(out, mapping.new_rank_of);
  out += "},\n\"before\": {\n";
  append_placement(out, before);
  out += "},\n\"after\": {\n";
  append_placement(out, after);
  out += "}";
}

}  // namespace switchyard::io::plan_json
