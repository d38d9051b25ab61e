// SPDX-License-Identifier: Apache-2.0
/// Reads plans and placements, ours strictly and the serving frameworks' physical_to_logical_map.
#include <algorithm>
#include <array>
#include <limits>

#include "plan_json.hpp"
#include "switchyard/internal/json_value.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::io {

namespace {

constexpr std::int64_t kMinId = std::numeric_limits<std::int32_t>::min();
constexpr std::int64_t kMaxId = std::numeric_limits<std::int32_t>::max();

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

/// Compares the file's fingerprint with that of what was read.
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

/// [layers][slots] ids in [min, max], every row as long as `slots` says.
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

ScaleMode read_mode(JsonValue const& value) {
  auto const name = value.as_string();
  for (auto const mode : {ScaleMode::none, ScaleMode::scale_up, ScaleMode::scale_down}) {
    if (name == to_string(mode)) {
      return mode;
    }
  }
  value.fail("the mode is none, scale_up or scale_down");
}

RankMapping read_mapping(JsonValue const& value) {
  value.only_members({"mode", "new_rank_of"});
  RankMapping mapping{read_mode(value.at("mode")), {}};
  for (std::int64_t const rank : value.at("new_rank_of").int_array(kMinId, kMaxId)) {
    mapping.new_rank_of.emplace_back(narrow(rank));
  }
  return mapping;
}

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

void check_notes(JsonValue const& notes) {
  notes.only_members({"tool", "policy", "load"});
  for (std::string_view const key : {"tool", "policy", "load"}) {
    static_cast<void>(notes.at(key).as_string());
  }
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

ExpertPlacement read_target(JsonValue const& root, std::string const& source_name) {
  auto const plan = read_plan(root, source_name);
  try {
    return target_placement(plan);
  } catch (Error const& error) {
    root.at("mapping").fail(error.message());
  }
}

ExpertPlacement read_own_placement(JsonValue const& root, std::string const& source_name) {
  root.only_members({"kind", "schema_version", "fingerprint", "num_experts", "slots_per_rank", "slot_to_expert"});
  require_header(root, kPlacementKind, kPlacementSchemaVersion);
  auto placement = read_placement(root);
  require_fingerprint(root, placement.fingerprint(), source_name);
  return placement;
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

ExpertPlacement placement_from_json(std::string_view text, std::string const& source_name, int num_experts,
                                    int num_ranks) {
  auto const root = JsonDocument::parse(text, source_name).root();
  if (root.find("physical_to_logical_map")) {
    return read_physical_map(root, num_experts, num_ranks);
  }
  auto const kind = root.find("kind");
  if (!kind) {
    root.fail("a plan, a placement or a \"physical_to_logical_map\" is required");
  }
  bool const is_plan = kind->as_string() == kPlanKind;
  return require_sizes(is_plan ? read_target(root, source_name) : read_own_placement(root, source_name), root,
                       num_experts, num_ranks);
}

}  // namespace switchyard::io
