// SPDX-License-Identifier: Apache-2.0
#include "switchyard/io/dispatch_plan_json.hpp"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <span>
#include <utility>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::io {

namespace {

constexpr std::string_view kKind = "dispatch_plan";
constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMinInt64 = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();

/// A list of a stage under its name in the file; the one table that both directions use.
template <typename Stage>
struct StageList {
  std::string_view name;
  std::vector<std::int64_t> Stage::*list;
};
constexpr std::string_view kPermute = "permute";
constexpr std::string_view kExchange = "exchange";
constexpr std::string_view kTpGather = "tp_gather";
constexpr std::string_view kSortChunks = "sort_chunks";

constexpr std::array<StageList<RowGather>, 4> kRowGatherLists{{{"token_of_row", &RowGather::token_of_row},
                                                               {"slot_of_row", &RowGather::slot_of_row},
                                                               {"row_begin", &RowGather::row_begin},
                                                               {"rows_of_token", &RowGather::rows_of_token}}};
constexpr std::array<StageList<RowExchange>, 2> kRowExchangeLists{
    {{"send_rows", &RowExchange::send_rows}, {"receive_rows", &RowExchange::receive_rows}}};
constexpr std::array<StageList<TpGather>, 1> kTpGatherLists{{{"receive_rows", &TpGather::receive_rows}}};
constexpr std::array<StageList<ChunkSort>, 2> kChunkSortLists{
    {{"sizes", &ChunkSort::sizes}, {"order", &ChunkSort::order}}};

void append_list(std::string& out, std::span<std::int64_t const> values) {
  out += '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    fmt::format_int const digits(values[i]);
    out.append(digits.data(), digits.size());
  }
  out += ']';
}

template <typename Stage, std::size_t N>
void append_lists(std::string& out, Stage const& stage, std::array<StageList<Stage>, N> const& lists) {
  for (auto const& [name, list] : lists) {
    out += fmt::format(",\n\"{}\": ", name);
    append_list(out, stage.*list);
  }
}

struct StageWriter {
  std::string& out;
  void begin(std::string_view name) const { out += fmt::format("{{\"stage\": \"{}\"", name); }
  void operator()(RowGather const& stage) const {
    begin(kPermute);
    append_lists(out, stage, kRowGatherLists);
  }
  void operator()(RowExchange const& stage) const {
    begin(kExchange);
    append_lists(out, stage, kRowExchangeLists);
  }
  void operator()(TpGather const& stage) const {
    begin(kTpGather);
    out += fmt::format(", \"own_rows\": {}", stage.own_rows);
    append_lists(out, stage, kTpGatherLists);
  }
  void operator()(ChunkSort const& stage) const {
    begin(kSortChunks);
    append_lists(out, stage, kChunkSortLists);
  }
};

void append_setup(std::string& out, DispatchSetup const& setup) {
  out += fmt::format(
      "\"setup\": {{\"family\": \"{}\", \"row_order\": \"{}\", \"restore\": \"{}\", \"tp\": {}, \"ep\": {}, \"layer\": "
      "{}, "
      "\"num_experts\": {}, \"num_slots\": {}, \"placement\": \"{}\"}},\n",
      to_string(setup.family), to_string(setup.row_order), to_string(setup.restore), setup.grid.tp, setup.grid.ep,
      setup.layer, setup.num_experts, setup.num_slots, setup.placement.to_hex());
}

std::int32_t read_int32(JsonValue const& value) {
  return static_cast<std::int32_t>(value.as_int(-kMaxInt32 - 1, kMaxInt32));
}

std::int64_t read_int64(JsonValue const& value) {
  return value.as_int(kMinInt64, kMaxInt64);
}

std::vector<std::int64_t> read_list(JsonValue const& value) {
  return value.int_array(kMinInt64, kMaxInt64);
}

Fingerprint read_fingerprint(JsonValue const& value) {
  auto const fingerprint = Fingerprint::from_hex(value.as_string());
  if (!fingerprint) value.fail("16 hexadecimal digits are required");
  return *fingerprint;
}

/// The enumerator of that name among `choices`.
template <typename Enum, std::size_t N>
Enum read_name(JsonValue const& value, std::array<Enum, N> const& choices) {
  auto const name = value.as_string();
  for (Enum const choice : choices)
    if (to_string(choice) == name) return choice;
  value.fail("no such choice in this version");
}

DispatchSetup read_setup(JsonValue const& value) {
  value.only_members({"family", "row_order", "restore", "tp", "ep", "layer", "num_experts", "num_slots", "placement"});
  DispatchSetup setup;
  setup.family = read_name(value.at("family"), std::array{DispatchFamily::megatron_alltoall});
  setup.row_order = read_name(value.at("row_order"), std::array{RowOrder::rank_major, RowOrder::tp_major});
  setup.restore = read_name(value.at("restore"), std::array{ChunkRestore::inverse, ChunkRestore::megatron_seed});
  setup.grid = {read_int32(value.at("tp")), read_int32(value.at("ep"))};
  setup.layer = read_int32(value.at("layer"));
  setup.num_experts = read_int32(value.at("num_experts"));
  setup.num_slots = read_int32(value.at("num_slots"));
  setup.placement = read_fingerprint(value.at("placement"));
  return setup;
}

template <typename Stage, std::size_t N>
Stage read_lists(JsonValue const& value, std::array<StageList<Stage>, N> const& lists) {
  Stage stage;
  for (auto const& [name, list] : lists) stage.*list = read_list(value.at(name));
  return stage;
}

DispatchStage read_stage(JsonValue const& value) {
  auto const name = value.at("stage").as_string();
  if (name == kPermute) {
    value.only_members({"stage", "token_of_row", "slot_of_row", "row_begin", "rows_of_token"});
    return read_lists(value, kRowGatherLists);
  }
  if (name == kExchange) {
    value.only_members({"stage", "send_rows", "receive_rows"});
    return read_lists(value, kRowExchangeLists);
  }
  if (name == kTpGather) {
    value.only_members({"stage", "own_rows", "receive_rows"});
    auto stage = read_lists(value, kTpGatherLists);
    stage.own_rows = read_int64(value.at("own_rows"));
    return stage;
  }
  if (name != kSortChunks) value.at("stage").fail("a stage is permute, exchange, tp_gather or sort_chunks");
  value.only_members({"stage", "sizes", "order"});
  return read_lists(value, kChunkSortLists);
}

std::optional<CapacityLimit> read_capacity(JsonValue const& value) {
  if (value.is_null()) return std::nullopt;
  value.only_members({"rows", "padded"});
  return CapacityLimit{read_int64(value.at("rows")), value.at("padded").as_bool()};
}

DispatchPlan read_plan(JsonValue const& root) {
  root.only_members({"kind", "schema_version", "fingerprint", "setup", "rank", "first_slot", "num_tokens",
                     "slot_columns", "capacity", "rows_per_slot", "tokens_per_local_expert", "stages"});
  if (root.at("kind").as_string() != kKind) root.at("kind").fail("the kind \"dispatch_plan\" is required here");
  if (root.at("schema_version").as_int(1, kMaxInt32) != DispatchPlan::kSchemaVersion)
    root.at("schema_version").fail("this build reads version 1");
  DispatchPlan plan;
  plan.setup = read_setup(root.at("setup"));
  plan.rank = RankId{read_int32(root.at("rank"))};
  plan.first_slot = read_int32(root.at("first_slot"));
  plan.num_tokens = read_int64(root.at("num_tokens"));
  plan.slot_columns = read_int64(root.at("slot_columns"));
  plan.capacity = read_capacity(root.at("capacity"));
  plan.rows_per_slot = read_list(root.at("rows_per_slot"));
  plan.tokens_per_local_expert = read_list(root.at("tokens_per_local_expert"));
  auto const stages = root.at("stages");
  for (std::size_t i = 0; i < stages.array_size(); ++i) plan.stages.push_back(read_stage(stages.at(i)));
  return plan;
}

}  // namespace

std::string to_json(DispatchPlan const& plan) {
  std::string out = fmt::format("{{\n\"kind\": \"{}\",\n\"schema_version\": {},\n\"fingerprint\": \"{}\",\n", kKind,
                                DispatchPlan::kSchemaVersion, plan.fingerprint().to_hex());
  append_setup(out, plan.setup);
  out += fmt::format("\"rank\": {}, \"first_slot\": {}, \"num_tokens\": {}, \"slot_columns\": {},\n", plan.rank.value(),
                     plan.first_slot, plan.num_tokens, plan.slot_columns);
  out += plan.capacity ? fmt::format("\"capacity\": {{\"rows\": {}, \"padded\": {}}},\n", plan.capacity->rows,
                                     plan.capacity->padded)
                       : "\"capacity\": null,\n";
  out += "\"rows_per_slot\": ";
  append_list(out, plan.rows_per_slot);
  out += ",\n\"tokens_per_local_expert\": ";
  append_list(out, plan.tokens_per_local_expert);
  out += ",\n\"stages\": [";
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    out += i == 0 ? "\n" : ",\n";
    std::visit(StageWriter{out}, plan.stages[i]);
    out += '}';
  }
  return out + "\n]\n}\n";
}

DispatchPlan dispatch_plan_from_json(std::string_view text, std::string const& source_name) {
  auto const root = JsonDocument::parse(text, source_name).root();
  DispatchPlan plan = read_plan(root);
  auto const stored = read_fingerprint(root.at("fingerprint"));
  auto const computed = plan.fingerprint();
  SWITCHYARD_REQUIRE(stored == computed, invalid_plan,
                     "{}: the text says fingerprint {}, its content has {}: it was altered or damaged after it was "
                     "written, so make it again",
                     source_name, stored.to_hex(), computed.to_hex());
  return plan;
}

}  // namespace switchyard::io
