// SPDX-License-Identifier: Apache-2.0
#include "switchyard/io/recording_jsonl.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::io {
namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMaxRanks = std::int64_t{1} << 16;
constexpr std::int64_t kMaxExperts = std::int64_t{1} << 16;
constexpr int kSchemaVersion = 1;
/// Empty rows of bins take memory that no other number of a recording bounds.
constexpr std::int64_t kMaxBlockRows = 4096;
constexpr double kMaxCapacityFactor = 256;
/// A widest token makes every token as wide, in memory.
constexpr std::size_t kMaxChoices = std::size_t{1} << 28;

/// Members that are no compared field.
constexpr std::string_view kMembers[] = {"type",    "schema_version", "rank",           "tp",          "ep",
                                         "layer",   "family",         "row_order",      "num_experts", "slots_per_rank",
                                         "routing", "capacity",       "slot_to_expert", "expert_bins"};

int read_small(JsonValue const& value, std::int64_t min, std::int64_t max) {
  return static_cast<int>(value.as_int(min, max));
}

std::vector<std::int32_t> read_int32_list(JsonValue const& value, std::int64_t min, std::int64_t max) {
  std::vector<std::int32_t> list;
  for (std::int64_t const entry : value.int_array(min, max)) list.push_back(static_cast<std::int32_t>(entry));
  return list;
}

/// [[experts of token 0], ...]: lists may differ in length, -1 is a dropped choice.
RoutingMap read_routing(JsonValue const& value, int num_experts) {
  std::vector<std::vector<std::int32_t>> tokens;
  std::size_t top_k = 0;
  for (std::size_t token = 0; token < value.array_size(); ++token) {
    tokens.push_back(read_int32_list(value.at(token), -1, num_experts - 1));
    top_k = std::max(top_k, tokens.back().size());
  }
  if (top_k > to_size(kMaxExperts) || top_k * tokens.size() > kMaxChoices)
    value.fail(fmt::format("{} tokens with up to {} choices are more than a recording may hold", tokens.size(), top_k));
  std::vector<std::int32_t> ids(tokens.size() * top_k, -1);
  for (std::size_t token = 0; token < tokens.size(); ++token)
    std::copy(tokens[token].begin(), tokens[token].end(), ids.begin() + static_cast<std::ptrdiff_t>(token * top_k));
  std::vector<float> weights(ids.size(), 0.0F);
  return RoutingMap::from_topk(static_cast<std::int64_t>(tokens.size()), num_experts, static_cast<int>(top_k),
                               std::move(ids), std::move(weights));
}

RowOrder read_row_order(JsonValue const& value) {
  auto const name = value.as_string();
  for (auto const order : {RowOrder::rank_major, RowOrder::tp_major})
    if (to_string(order) == name) return order;
  value.fail("a row order is rank_major or tp_major");
}

DispatchFamily read_family(JsonValue const& value) {
  auto const name = value.as_string();
  for (auto const family : {DispatchFamily::megatron_alltoall, DispatchFamily::megatron_allgather,
                            DispatchFamily::megatron_flex, DispatchFamily::megablocks})
    if (to_string(family) == name) return family;
  value.fail("a family is megatron_alltoall, megatron_allgather, megatron_flex or megablocks");
}

RecordedBins read_bins(JsonValue const& value) {
  value.only_members({"kind", "block_rows", "capacity_factor"});
  RecordedBins bins;
  auto const name = value.at("kind").as_string();
  for (auto const kind : {ExpertBins::exact, ExpertBins::capacity, ExpertBins::blocks})
    if (to_string(kind) == name) bins.kind = kind;
  if (to_string(bins.kind) != name) value.at("kind").fail("expert bins are exact, capacity or blocks");
  if (bins.kind == ExpertBins::blocks) bins.block_rows = value.at("block_rows").as_int(1, kMaxBlockRows);
  if (bins.kind == ExpertBins::capacity) bins.capacity_factor = value.at("capacity_factor").as_double();
  if (!(bins.capacity_factor >= 0 && bins.capacity_factor <= kMaxCapacityFactor))
    value.at("capacity_factor").fail("a recorded capacity factor is 0 to 256");
  return bins;
}

/// A list of integers, or of lists of integers that are read as one.
std::vector<std::int64_t> read_values(JsonValue const& value) {
  if (value.array_size() == 0 || !value.at(std::size_t{0}).is_array()) return value.int_array(-1, kMaxInt64);
  std::vector<std::int64_t> flat;
  for (std::size_t i = 0; i < value.array_size(); ++i) {
    auto const part = read_values(value.at(i));
    flat.insert(flat.end(), part.begin(), part.end());
  }
  return flat;
}

std::vector<RecordedField> read_fields(JsonValue const& root) {
  auto const names = recorded_field_names();
  std::vector<RecordedField> fields;
  for (std::string const& key : root.keys()) {
    if (std::find(std::begin(kMembers), std::end(kMembers), key) != std::end(kMembers)) continue;
    auto const value = root.at(key);
    if (std::find(names.begin(), names.end(), key) == names.end())
      value.fail(fmt::format("no field of that name can be compared: known are {}", fmt::join(names, ", ")));
    fields.push_back(
        {key, value.is_number() ? std::vector<std::int64_t>{value.as_int(-1, kMaxInt64)} : read_values(value)});
  }
  return fields;
}

DispatchRecording read_call(JsonValue const& root) {
  auto const version = root.at("schema_version");
  if (version.as_int(1, kMaxInt32) != kSchemaVersion) version.fail("this build reads recordings of version 1");
  DispatchRecording call;
  call.grid = {read_small(root.at("tp"), 1, kMaxRanks), read_small(root.at("ep"), 1, kMaxRanks)};
  if (std::int64_t{call.grid.tp} * call.grid.ep > kMaxRanks) root.at("ep").fail("at most 65,536 ranks are read");
  call.rank = RankId{read_small(root.at("rank"), 0, call.grid.world() - 1)};
  if (auto const layer = root.find("layer")) call.layer = read_small(*layer, 0, kMaxInt32);
  call.num_experts = read_small(root.at("num_experts"), 1, kMaxExperts);
  if (auto const family = root.find("family")) call.family = read_family(*family);
  bool const is_alltoall = call.family == DispatchFamily::megatron_alltoall;
  call.row_order = is_alltoall ? RowOrder::tp_major : RowOrder::rank_major;
  if (auto const order = root.find("row_order")) call.row_order = read_row_order(*order);
  if (auto const bins = root.find("expert_bins")) call.bins = read_bins(*bins);
  if (auto const slots = root.find("slots_per_rank")) {
    static_cast<void>(slots->array_size(to_size(call.grid.ep)));
    call.slots_per_rank = read_int32_list(*slots, 0, kMaxExperts);
    std::int64_t sum = 0;
    for (std::int32_t const count : call.slots_per_rank) sum += count;
    static_cast<void>(root.at("slot_to_expert").array_size(to_size(sum)));
    call.slot_to_expert = read_int32_list(root.at("slot_to_expert"), -1, call.num_experts - 1);
  } else if (auto const experts = root.find("slot_to_expert")) {
    experts->fail("\"slots_per_rank\" is needed beside it");
  }
  call.routing = read_routing(root.at("routing"), call.num_experts);
  if (auto const capacity = root.find("capacity"); capacity && !capacity->is_null()) {
    capacity->only_members({"rows", "padded"});
    call.capacity = CapacityLimit{capacity->at("rows").as_int(0, kMaxInt64), capacity->at("padded").as_bool()};
  }
  call.fields = read_fields(root);
  return call;
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

std::string routing_text(RoutingMap const& routing) {
  std::string text;
  std::vector<RoutingChoice> choices;
  for (std::int64_t token = 0; token < routing.num_tokens(); ++token) {
    routing.choices_of(TokenIndex{token}, choices);
    std::vector<std::int32_t> experts;
    for (auto const& choice : choices) experts.push_back(choice.expert.value());
    text += fmt::format("{}[{}]", token == 0 ? "" : ",", fmt::join(experts, ","));
  }
  return text;
}

/// The member that says what a MegaBlocks dispatch needs; nothing for exact bins, which every family has.
std::string bins_text(RecordedBins const& bins) {
  if (bins.kind == ExpertBins::blocks)
    return fmt::format(",\"expert_bins\":{{\"kind\":\"blocks\",\"block_rows\":{}}}", bins.block_rows);
  if (bins.kind == ExpertBins::capacity)
    return fmt::format(",\"expert_bins\":{{\"kind\":\"capacity\",\"capacity_factor\":{}}}", bins.capacity_factor);
  return {};
}

}  // namespace

RecordingReadResult parse_recordings(std::string_view content, std::string const& source_name) {
  RecordingReadResult result;
  JsonOrigin origin;
  while (origin.first_byte < content.size()) {
    auto const end = std::min(content.find('\n', origin.first_byte), content.size());
    auto const line = content.substr(origin.first_byte, end - origin.first_byte);
    if (!is_blank(line)) {
      auto const root = JsonDocument::parse(line, source_name, {}, origin).root();
      auto const type = root.find("type");
      if (type && type->as_string() != "dispatch")
        ++result.dropped_other;
      else
        result.calls.push_back(read_call(root));
    }
    origin.first_byte = end + 1;
    ++origin.first_line;
  }
  return result;
}

std::string to_jsonl(DispatchRecording const& call) {
  std::string text = fmt::format(
      "{{\"type\":\"dispatch\",\"schema_version\":{},\"rank\":{},\"tp\":{},\"ep\":{},\"layer\":{},\"num_experts\":{},"
      "\"family\":\"{}\",\"row_order\":\"{}\"",
      kSchemaVersion, call.rank.value(), call.grid.tp, call.grid.ep, call.layer, call.num_experts,
      to_string(call.family), to_string(call.row_order));
  text += bins_text(call.bins);
  if (!call.slots_per_rank.empty())
    text += fmt::format(",\"slots_per_rank\":[{}],\"slot_to_expert\":[{}]", fmt::join(call.slots_per_rank, ","),
                        fmt::join(call.slot_to_expert, ","));
  if (call.capacity)
    text += fmt::format(",\"capacity\":{{\"rows\":{},\"padded\":{}}}", call.capacity->rows, call.capacity->padded);
  text += fmt::format(",\"routing\":[{}]", routing_text(call.routing));
  for (auto const& field : call.fields) text += fmt::format(",\"{}\":[{}]", field.name, fmt::join(field.values, ","));
  return text + "}\n";
}

}  // namespace switchyard::io
