// SPDX-License-Identifier: Apache-2.0
/// Names, limits and common members of the plan, schedule and placement files (docs/formats/plan.md).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::io::plan_json {

inline constexpr std::string_view kPlanKind = "rebalance_plan";
inline constexpr std::string_view kScheduleKind = "rebalance_schedule";
inline constexpr std::string_view kPlacementKind = "expert_placement";
inline constexpr int kPlacementSchemaVersion = 1;
/// Far above any model; keeps what later work allocates per expert in proportion to a hostile file.
inline constexpr std::int64_t kMaxExpertsInFile = std::int64_t{1} << 20;
inline constexpr std::int64_t kMinId = std::numeric_limits<std::int32_t>::min();
inline constexpr std::int64_t kMaxId = std::numeric_limits<std::int32_t>::max();

// Reading. All of them: @throws Error{parse} with the value's place.

[[nodiscard]] std::int32_t narrow(std::int64_t checked);
void require_header(JsonValue const& root, std::string_view kind, int schema_version);
/// Compares the file's fingerprint with that of what was read. @throws Error{invalid_plan} when they differ.
void require_fingerprint(JsonValue const& root, Fingerprint computed, std::string const& source_name);
[[nodiscard]] SlotLayout read_layout(JsonValue const& value);
/// [layers][slots] ids in [min, max], every row as long as `slots` says.
[[nodiscard]] std::vector<ExpertId> read_map(JsonValue const& rows, std::size_t slots, std::int64_t min,
                                             std::int64_t max);
[[nodiscard]] ExpertPlacement read_placement(JsonValue const& value);
/// The same, and nothing else may be there.
[[nodiscard]] ExpertPlacement read_placement_member(JsonValue const& value);
[[nodiscard]] std::vector<RankId> read_ranks(JsonValue const& value);
[[nodiscard]] RankMapping read_mapping(JsonValue const& value);
void check_notes(JsonValue const& notes);

// Writing: integers only.

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

void append_int(std::string& out, std::int64_t value);

/// One integer per element, e.g. ids.
template <typename List>
void append_ids(std::string& out, List const& ids) {
  append_list(out, ids, ",", [&](auto id) { append_int(out, id.value()); });
}

/// The members that plans and schedules share, up to and with `after`: kind, version, fingerprint, notes, mapping, both
/// placements. No comma behind them.
void append_frame(std::string& out, std::string_view kind, int schema_version, Fingerprint fingerprint,
                  PlanNotes const& notes, RankMapping const& mapping, ExpertPlacement const& before,
                  ExpertPlacement const& after);
/// The members of a placement, without the braces.
void append_placement(std::string& out, ExpertPlacement const& placement);

}  // namespace switchyard::io::plan_json
