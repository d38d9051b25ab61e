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
constexpr std::string_view kWorldGather = "world_gather";
constexpr std::string_view kSortChunks = "sort_chunks";
constexpr std::string_view kRepeatShards = "repeat_shards";

constexpr std::array<StageList<RowGather>, 4> kRowGatherLists{{{"token_of_row", &RowGather::token_of_row},
                                                               {"slot_of_row", &RowGather::slot_of_row},
                                                               {"row_begin", &RowGather::row_begin},
                                                               {"rows_of_token", &RowGather::rows_of_token}}};
constexpr std::array<StageList<RowExchange>, 2> kRowExchangeLists{
    {{"send_rows", &RowExchange::send_rows}, {"receive_rows", &RowExchange::receive_rows}}};
constexpr std::array<StageList<GroupGather>, 1> kGroupGatherLists{{{"receive_rows", &GroupGather::receive_rows}}};
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
  void operator()(GroupGather const& stage) const {
    begin(stage.group == GatherGroup::tp ? kTpGather : kWorldGather);
    out += fmt::format(", \"own_rows\": {}", stage.own_rows);
    append_lists(out, stage, kGroupGatherLists);
  }
  void operator()(ChunkSort const& stage) const {
    begin(kSortChunks);
    append_lists(out, stage, kChunkSortLists);
  }
  void operator()(ShardRepeat const& stage) const {
    begin(kRepeatShards);
    out += fmt::format(", \"rows\": {}, \"copies\": {}", stage.rows, stage.copies);
  }
};

void append_stages(std::string& out, std::string_view name, std::vector<DispatchStage> const& stages) {
  out += fmt::format(",\n\"{}\": [", name);
  for (std::size_t i = 0; i < stages.size(); ++i) {
    out += i == 0 ? "\n" : ",\n";
    std::visit(StageWriter{out}, stages[i]);
    out += '}';
  }
  out += "\n]";
}

void append_setup(std::string& out, DispatchSetup const& setup) {
  out += fmt::format(
      "\"setup\": {{\"family\": \"{}\", \"row_order\": \"{}\", \"restore\": \"{}\", \"tp\": {}, \"ep\": {}, \"layer\": "
      "{}, "
      "\"num_experts\": {}, \"num_slots\": {}, \"placement\": \"{}\"",
      to_string(setup.family), to_string(setup.row_order), to_string(setup.restore), setup.grid.tp, setup.grid.ep,
      setup.layer, setup.num_experts, setup.num_slots, setup.placement.to_hex());
  if (setup.family == DispatchFamily::megablocks)
    out += fmt::format(", \"hidden_shards\": {}, \"bins\": \"{}\", \"block_rows\": {}", setup.hidden_shards,
                       to_string(setup.bins), setup.block_rows);
  out += "},\n";
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
  DispatchSetup setup;
  setup.family =
      read_name(value.at("family"), std::array{DispatchFamily::megatron_alltoall, DispatchFamily::megatron_allgather,
                                               DispatchFamily::megatron_flex, DispatchFamily::megablocks});
  if (setup.family == DispatchFamily::megablocks) {
    value.only_members({"family", "row_order", "restore", "tp", "ep", "layer", "num_experts", "num_slots", "placement",
                        "hidden_shards", "bins", "block_rows"});
    setup.hidden_shards = read_int32(value.at("hidden_shards"));
    setup.bins = read_name(value.at("bins"), std::array{ExpertBins::exact, ExpertBins::capacity, ExpertBins::blocks});
    setup.block_rows = read_int64(value.at("block_rows"));
  } else {
    value.only_members(
        {"family", "row_order", "restore", "tp", "ep", "layer", "num_experts", "num_slots", "placement"});
  }
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
  if (name == kTpGather || name == kWorldGather) {
    value.only_members({"stage", "own_rows", "receive_rows"});
    auto stage = read_lists(value, kGroupGatherLists);
    stage.own_rows = read_int64(value.at("own_rows"));
    stage.group = name == kTpGather ? GatherGroup::tp : GatherGroup::world;
    return stage;
  }
  if (name == kRepeatShards) {
    value.only_members({"stage", "rows", "copies"});
    return ShardRepeat{read_int64(value.at("rows")), read_int64(value.at("copies"))};
  }
  if (name != kSortChunks)
    value.at("stage").fail("a stage is permute, exchange, tp_gather, world_gather, sort_chunks or repeat_shards");
  value.only_members({"stage", "sizes", "order"});
  return read_lists(value, kChunkSortLists);
}

std::vector<DispatchStage> read_stages(JsonValue const& value) {
  std::vector<DispatchStage> stages;
  for (std::size_t i = 0; i < value.array_size(); ++i) stages.push_back(read_stage(value.at(i)));
  return stages;
}

std::optional<CapacityLimit> read_capacity(JsonValue const& value) {
  if (value.is_null()) return std::nullopt;
  value.only_members({"rows", "padded"});
  return CapacityLimit{read_int64(value.at("rows")), value.at("padded").as_bool()};
}

DispatchPlan read_plan(JsonValue const& root) {
  root.only_members({"kind", "schema_version", "fingerprint", "setup", "rank", "first_slot", "num_tokens",
                     "slot_columns", "capacity", "rows_per_slot", "tokens_per_local_expert", "stages", "row_return"});
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
  plan.stages = read_stages(root.at("stages"));
  if (auto const row_return = root.find("row_return")) {
    plan.row_return = read_stages(*row_return);
    if (plan.row_return.empty()) row_return->fail("a plan without a row return leaves it out");
  }
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
  append_stages(out, "stages", plan.stages);
  if (!plan.row_return.empty()) append_stages(out, "row_return", plan.row_return);
  return out + "\n}\n";
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
