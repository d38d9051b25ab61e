// SPDX-License-Identifier: Apache-2.0
/// Reads plans and placements, ours strictly and the serving frameworks' physical_to_logical_map.
#include <fmt/format.h>

#include <algorithm>

#include "plan_json_parts.hpp"
#include "schedule_json.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::io {

namespace {

using plan_json::check_notes;
using plan_json::kMaxExpertsInFile;
using plan_json::kMaxId;
using plan_json::kMinId;
using plan_json::kPlacementKind;
using plan_json::kPlacementSchemaVersion;
using plan_json::kPlanKind;
using plan_json::kScheduleKind;
using plan_json::narrow;
using plan_json::read_map;
using plan_json::read_mapping;
using plan_json::read_placement;
using plan_json::read_placement_member;
using plan_json::require_fingerprint;
using plan_json::require_header;

/// A list of [expert, second, third].
template <typename Entry, typename Second, typename Third>
std::vector<Entry> read_triples(JsonValue const& list) {
  std::vector<Entry> entries;
  entries.reserve(list.array_size());
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    auto const triple = list.at(i);
    static_cast<void>(triple.array_size(3));
    auto const values = triple.int_array(kMinId, kMaxId);
    entries.push_back(Entry{ExpertId(narrow(values[0])), Second(narrow(values[1])), Third(narrow(values[2]))});
  }
  return entries;
}

RankTransfers read_rank(JsonValue const& value, std::size_t rank) {
  value.only_members({"rank", "sends", "receives", "local_copies", "duplicates"});
  auto const index = static_cast<std::int64_t>(rank);
  static_cast<void>(value.at("rank").as_int(index, index));
  return {read_triples<ExpertSend, LocalExpertId, RankId>(value.at("sends")),
          read_triples<ExpertReceive, LocalExpertId, RankId>(value.at("receives")),
          read_triples<LocalCopy, LocalExpertId, LocalExpertId>(value.at("local_copies")),
          read_triples<LocalCopy, LocalExpertId, LocalExpertId>(value.at("duplicates"))};
}

LayerTransfers read_layer(JsonValue const& value, std::size_t layer) {
  value.only_members({"layer", "ranks"});
  auto const index = static_cast<std::int64_t>(layer);
  static_cast<void>(value.at("layer").as_int(index, index));
  auto const ranks = value.at("ranks");
  LayerTransfers transfers;
  for (std::size_t rank = 0; rank < ranks.array_size(); ++rank) {
    transfers.ranks.push_back(read_rank(ranks.at(rank), rank));
  }
  return transfers;
}

RebalancePlan read_plan(JsonValue const& root, std::string const& source_name) {
  root.only_members({"kind", "schema_version", "fingerprint", "notes", "mapping", "before", "after", "layers"});
  require_header(root, kPlanKind, RebalancePlan::kSchemaVersion);
  check_notes(root.at("notes"));
  RebalancePlan plan{read_placement_member(root.at("before")),
                     read_placement_member(root.at("after")),
                     read_mapping(root.at("mapping")),
                     {}};
  auto const layers = root.at("layers");
  for (std::size_t layer = 0; layer < layers.array_size(); ++layer) {
    plan.layers.push_back(read_layer(layers.at(layer), layer));
  }
  require_fingerprint(root, plan.fingerprint(), source_name);
  return plan;
}

ExpertPlacement read_own_placement(JsonValue const& root, std::string const& source_name) {
  root.only_members({"kind", "schema_version", "fingerprint", "num_experts", "slots_per_rank", "slot_to_expert"});
  require_header(root, kPlacementKind, kPlacementSchemaVersion);
  auto placement = read_placement(root);
  require_fingerprint(root, placement.fingerprint(), source_name);
  return placement;
}

template <typename Plan>
ExpertPlacement target_of(Plan const& plan, JsonValue const& root) {
  try {
    return target_placement(plan);
  } catch (Error const& error) {
    root.at("mapping").fail(error.message());
  }
}

/// The placement of any file of ours.
ExpertPlacement read_any_placement(JsonValue const& root, std::string const& source_name) {
  auto const kind = root.at("kind").as_string();
  if (kind == kPlanKind) return target_of(read_plan(root, source_name), root);
  if (kind == kScheduleKind) return target_of(plan_json::read_schedule(root, source_name), root);
  return read_own_placement(root, source_name);
}

ExpertPlacement require_sizes(ExpertPlacement placement, JsonValue const& root, int num_experts, int num_ranks) {
  if (num_experts != 0 && placement.num_experts() != num_experts) {
    root.fail(fmt::format("it places {} experts, but {} are asked for", placement.num_experts(), num_experts));
  }
  if (num_ranks != 0 && placement.num_ranks() != num_ranks) {
    root.fail(fmt::format("it is for {} ranks, but {} are asked for", placement.num_ranks(), num_ranks));
  }
  return placement;
}

int count_experts(JsonValue const& root, std::vector<ExpertId> const& ids, int num_experts) {
  if (num_experts != 0) {
    return num_experts;
  }
  if (auto const stated = root.find("num_logical_experts")) {
    return static_cast<int>(stated->as_int(1, kMaxExpertsInFile));
  }
  return ids.empty() ? 0 : std::max_element(ids.begin(), ids.end())->value() + 1;
}

/// SGLang's and vLLM's map, whose ranks all have equally many slots.
ExpertPlacement read_physical_map(JsonValue const& root, int num_experts, int num_ranks) {
  auto const rows = root.at("physical_to_logical_map");
  auto const slots = rows.array_size() == 0 ? std::size_t{0} : rows.at(std::size_t{0}).array_size();
  if (num_ranks < 1 || slots == 0 || slots % to_size(num_ranks) != 0) {
    rows.fail(
        fmt::format("{} slots cannot be split evenly over {} ranks: give the number of ranks that the map was made "
                    "for",
                    slots, num_ranks));
  }
  auto ids = read_map(rows, slots, -1, kMaxExpertsInFile - 1);
  int const experts = count_experts(root, ids, num_experts);
  if (auto const bad = std::find_if(ids.begin(), ids.end(), [&](ExpertId id) { return id.value() >= experts; });
      bad != ids.end()) {
    auto const place = to_size(bad - ids.begin());
    rows.at(place / slots).at(place % slots).fail(fmt::format("the ids of {} experts end at {}", experts, experts - 1));
  }
  auto const num_layers = static_cast<int>(rows.array_size());
  return ExpertPlacement(num_layers, experts, SlotLayout::uniform(num_ranks, static_cast<int>(slots) / num_ranks),
                         std::move(ids));
}

}  // namespace

RebalancePlan rebalance_plan_from_json(std::string_view text, std::string const& source_name) {
  return read_plan(JsonDocument::parse(text, source_name).root(), source_name);
}

RebalanceSchedule rebalance_schedule_from_json(std::string_view text, std::string const& source_name) {
  return plan_json::read_schedule(JsonDocument::parse(text, source_name).root(), source_name);
}

std::variant<RebalancePlan, RebalanceSchedule> rebalance_from_json(std::string_view text,
                                                                   std::string const& source_name) {
  auto const root = JsonDocument::parse(text, source_name).root();
  if (root.at("kind").as_string() == kScheduleKind) return plan_json::read_schedule(root, source_name);
  return read_plan(root, source_name);
}

ExpertPlacement placement_from_json(std::string_view text, std::string const& source_name, int num_experts,
                                    int num_ranks) {
  auto const root = JsonDocument::parse(text, source_name).root();
  if (root.find("physical_to_logical_map")) {
    return read_physical_map(root, num_experts, num_ranks);
  }
  if (!root.find("kind")) {
    root.fail("a plan, a schedule, a placement or a \"physical_to_logical_map\" is required");
  }
  return require_sizes(read_any_placement(root, source_name), root, num_experts, num_ranks);
}

}  // namespace switchyard::io
