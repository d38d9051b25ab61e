// SPDX-License-Identifier: Apache-2.0
/// Schedules as JSON: integers only, one line per round.
#include "schedule_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "plan_json_parts.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::io {
namespace {

using plan_json::append_ids;
using plan_json::append_int;
using plan_json::append_list;
using plan_json::kMaxId;
using plan_json::kMinId;
using plan_json::narrow;

constexpr std::array kBoundKinds = {BoundKind::none, BoundKind::receive, BoundKind::node, BoundKind::send,
                                    BoundKind::spread};

template <std::size_t Size>
void append_tuple(std::string& out, std::array<std::int32_t, Size> const& values) {
  append_list(out, values, ",", [&](std::int32_t value) { append_int(out, value); });
}

void append_copies(std::string& out, std::vector<RowCopy> const& copies) {
  append_list(out, copies, ",", [&](RowCopy const& copy) {
    append_tuple<4>(out, {copy.expert.value(), copy.rank.value(), copy.source_row.value(), copy.target_row.value()});
  });
}

void append_round(std::string& out, TransferRound const& round) {
  out += "\n{\"transfers\":";
  append_list(out, round.transfers, ",", [&](RowTransfer const& t) {
    append_tuple<5>(out, {t.expert.value(), t.from.value(), t.source_row.value(), t.to.value(), t.target_row.value()});
  });
  out += ",\"copies\":";
  append_copies(out, round.copies);
  out += '}';
}

void append_layer(std::string& out, std::size_t index, LayerSchedule const& layer) {
  out +=
      fmt::format("\n{{\"layer\":{},\"spare_rows_used\":{},\"bound\":{{\"kind\":\"{}\",\"rounds\":{},\"ranks\":", index,
                  layer.spare_rows_used, to_string(layer.bound.kind), layer.bound.rounds);
  append_ids(out, layer.bound.ranks);
  out += fmt::format(",\"expert\":{}}},\"rounds\":", layer.bound.expert.value());
  append_list(out, layer.rounds, ",", [&](TransferRound const& round) { append_round(out, round); });
  out += ",\n\"commit\":";
  append_copies(out, layer.commit);
  out += '}';
}

void append_reloads(std::string& out, std::vector<Reload> const& reloads) {
  append_list(out, reloads, ",", [&](Reload const& reload) {
    append_tuple<4>(out, {reload.layer, reload.rank.value(), reload.row.value(), reload.expert.value()});
  });
}

/// Lists of `Size` integers, each handed to `make`.
template <typename Entry, std::size_t Size, typename Make>
std::vector<Entry> read_tuples(JsonValue const& list, Make const& make) {
  std::vector<Entry> entries;
  entries.reserve(list.array_size());
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    auto const tuple = list.at(i);
    static_cast<void>(tuple.array_size(Size));
    auto const values = tuple.int_array(kMinId, kMaxId);
    std::array<std::int32_t, Size> narrow_values{};
    std::transform(values.begin(), values.end(), narrow_values.begin(), narrow);
    entries.push_back(make(narrow_values));
  }
  return entries;
}

std::vector<RowCopy> read_copies(JsonValue const& list) {
  return read_tuples<RowCopy, 4>(list, [](auto const& v) {
    return RowCopy{ExpertId(v[0]), RankId(v[1]), LocalExpertId(v[2]), LocalExpertId(v[3])};
  });
}

TransferRound read_round(JsonValue const& value) {
  value.only_members({"transfers", "copies"});
  return {
      read_tuples<RowTransfer, 5>(
          value.at("transfers"),
          [](auto const& v) {
            return RowTransfer{ExpertId(v[0]), RankId(v[1]), LocalExpertId(v[2]), RankId(v[3]), LocalExpertId(v[4])};
          }),
      read_copies(value.at("copies"))};
}

RoundBound read_bound(JsonValue const& value) {
  value.only_members({"kind", "rounds", "ranks", "expert"});
  auto const name = value.at("kind").as_string();
  auto const kind =
      std::find_if(kBoundKinds.begin(), kBoundKinds.end(), [&](BoundKind k) { return to_string(k) == name; });
  if (kind == kBoundKinds.end()) value.at("kind").fail("the kind is none, receive, node, send or spread");
  return {*kind, narrow(value.at("rounds").as_int(0, kMaxId)), plan_json::read_ranks(value.at("ranks")),
          ExpertId(narrow(value.at("expert").as_int(-1, kMaxId)))};
}

LayerSchedule read_layer(JsonValue const& value, std::size_t layer) {
  value.only_members({"layer", "spare_rows_used", "bound", "rounds", "commit"});
  auto const index = static_cast<std::int64_t>(layer);
  static_cast<void>(value.at("layer").as_int(index, index));
  LayerSchedule out;
  out.spare_rows_used = narrow(value.at("spare_rows_used").as_int(0, kMaxId));
  out.bound = read_bound(value.at("bound"));
  auto const rounds = value.at("rounds");
  for (std::size_t round = 0; round < rounds.array_size(); ++round) out.rounds.push_back(read_round(rounds.at(round)));
  out.commit = read_copies(value.at("commit"));
  return out;
}

ScheduleLimits read_limits(JsonValue const& value) {
  value.only_members({"num_nodes", "intra_per_round", "max_transfers_per_round", "spare_rows"});
  auto const number = [&](std::string_view key) { return narrow(value.at(key).as_int(-1, kMaxId)); };
  return {number("num_nodes"), number("intra_per_round"), number("max_transfers_per_round"), number("spare_rows")};
}

std::vector<Reload> read_reloads(JsonValue const& list) {
  return read_tuples<Reload, 4>(list, [](auto const& v) {
    return Reload{v[0], RankId(v[1]), LocalExpertId(v[2]), ExpertId(v[3])};
  });
}

}  // namespace

RebalanceSchedule plan_json::read_schedule(JsonValue const& root, std::string const& source_name) {
  root.only_members({"kind", "schema_version", "fingerprint", "notes", "mapping", "before", "after", "dead_ranks",
                     "reloads", "limits", "expert_bytes", "layers"});
  require_header(root, kScheduleKind, RebalanceSchedule::kSchemaVersion);
  check_notes(root.at("notes"));
  RebalanceSchedule schedule;
  schedule.before = read_placement_member(root.at("before"));
  schedule.after = read_placement_member(root.at("after"));
  schedule.mapping = read_mapping(root.at("mapping"));
  schedule.dead_ranks = read_ranks(root.at("dead_ranks"));
  schedule.reloads = read_reloads(root.at("reloads"));
  schedule.limits = read_limits(root.at("limits"));
  schedule.expert_bytes = root.at("expert_bytes").as_int(0, std::numeric_limits<std::int64_t>::max());
  auto const layers = root.at("layers");
  for (std::size_t layer = 0; layer < layers.array_size(); ++layer)
    schedule.layers.push_back(read_layer(layers.at(layer), layer));
  require_fingerprint(root, schedule.fingerprint(), source_name);
  return schedule;
}

std::string to_json(RebalanceSchedule const& schedule, PlanNotes const& notes) {
  std::string out;
  plan_json::append_frame(out, plan_json::kScheduleKind, RebalanceSchedule::kSchemaVersion, schedule.fingerprint(),
                          notes, schedule.mapping, schedule.before, schedule.after);
  out += ",\n\"dead_ranks\": ";
  append_ids(out, schedule.dead_ranks);
  out += ",\n\"reloads\": ";
  append_reloads(out, schedule.reloads);
  ScheduleLimits const& limits = schedule.limits;
  out += fmt::format(
      ",\n\"limits\": {{\"num_nodes\": {}, \"intra_per_round\": {}, \"max_transfers_per_round\": {}, \"spare_rows\": "
      "{}}}",
      limits.num_nodes, limits.intra_per_round, limits.max_transfers_per_round, limits.spare_rows);
  out += fmt::format(",\n\"expert_bytes\": {},\n\"layers\": ", schedule.expert_bytes);
  std::size_t index = 0;
  append_list(out, schedule.layers, ",", [&](LayerSchedule const& layer) { append_layer(out, index++, layer); });
  return out + "\n}\n";
}

}  // namespace switchyard::io
