// SPDX-License-Identifier: Apache-2.0
/// The placement formats that are JSON: vllm-ascend's lists of devices, and the maps of SGLang and vLLM.
#include <fmt/format.h>

#include "placement_parts.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/types/error.hpp"
#include "vllm_stats.hpp"

namespace switchyard::io {
namespace {

constexpr std::int64_t kMaxInt = (std::int64_t{1} << 31) - 1;

/// "[1,2,3]" of some slots.
void append_ids(std::string& out, std::span<ExpertId const> ids) {
  char separator = '[';
  for (ExpertId const id : ids) {
    out += separator;
    out += fmt::format_int(id.value()).c_str();
    separator = ',';
  }
  out += ids.empty() ? "[]" : "]";
}

/// One layer's devices: the slots in device order, and how many each has.
struct AscendLayer {
  std::vector<std::int64_t> slots{};
  std::vector<std::int32_t> slots_per_rank{};
};

AscendLayer read_ascend_layer(JsonValue const& value) {
  value.only_members({"layer_id", "device_count", "device_list"});
  JsonValue const devices = value.at("device_list");
  auto const count = value.at("device_count").as_int(1, kMaxInt);
  devices.array_size(to_size(count));
  AscendLayer layer;
  for (std::size_t device = 0; device < to_size(count); ++device) {
    JsonValue const entry = devices.at(device);
    entry.only_members({"device_id", "device_expert"});
    auto const id = static_cast<std::int64_t>(device);
    static_cast<void>(entry.at("device_id").as_int(id, id));
    auto const experts = entry.at("device_expert").int_array(0, kMaxPlacementExperts - 1);
    layer.slots.insert(layer.slots.end(), experts.begin(), experts.end());
    layer.slots_per_rank.push_back(static_cast<std::int32_t>(experts.size()));
  }
  return layer;
}

/// A stated size must be the map's: a file that was cut and mended would otherwise pass.
void require_stated(JsonValue const& root, std::string_view member, std::size_t found) {
  auto const stated = root.find(member);
  if (stated && stated->as_int(0, kMaxInt) != static_cast<std::int64_t>(found))
    stated->fail(fmt::format("the map has {}", found));
}

std::int64_t layer_id(JsonValue const& map, std::string const& key) {
  std::int64_t id = 0;
  for (char const digit : key) id = digit >= '0' && digit <= '9' && id < kMaxInt / 10 ? 10 * id + (digit - '0') : -1;
  if (key.empty() || id < 0 || fmt::format("{}", id) != key) map.at(key).fail("the key of a layer is its number");
  return id;
}

PlacementReadResult read_initial_mapping(PlacementText const& text, JsonValue const& line) {
  JsonValue const map = line.at("initial_global_assignments");
  auto const slots = line.at("num_slots").as_int(1, kMaxInt);
  SlotRows rows;
  for (std::string const& key : map.keys()) {
    map.at(key).array_size(to_size(slots));
    rows.layers[layer_id(map, key)] = map.at(key).int_array(0, kMaxPlacementExperts - 1);
  }
  rows.num_experts = slots - line.at("num_redundant_experts").as_int(0, slots - 1);
  return place_rows(text, rows, PlacementFormat::vllm_map);
}

PlacementReadResult from_stats(PlacementText text, VllmStatsRecord const& record) {
  SlotRows rows;
  for (std::size_t layer = 0; layer < record.layers; ++layer) {
    auto const first = record.map.begin() + static_cast<std::ptrdiff_t>(layer * record.slots);
    rows.layers[static_cast<std::int64_t>(layer)].assign(first, first + static_cast<std::ptrdiff_t>(record.slots));
  }
  if (text.num_ranks == 0) text.num_ranks = record.num_ranks;
  return place_rows(text, rows, PlacementFormat::vllm_stats);
}

}  // namespace

PlacementReadResult read_ascend(PlacementText const& text, JsonValue const& root) {
  root.only_members({"moe_layer_count", "layer_list"});
  JsonValue const list = root.at("layer_list");
  list.array_size(to_size(root.at("moe_layer_count").as_int(1, kMaxInt)));
  SlotRows rows;
  std::vector<std::int32_t> slots_per_rank;
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    AscendLayer layer = read_ascend_layer(list.at(i));
    if (i == 0) slots_per_rank = layer.slots_per_rank;
    if (layer.slots_per_rank != slots_per_rank)
      list.at(i).at("device_list").fail("every device must hold as many experts in this layer as in the first");
    JsonValue const id = list.at(i).at("layer_id");
    if (!rows.layers.emplace(id.as_int(0, kMaxInt), std::move(layer.slots)).second)
      id.fail("the layer is listed twice");
  }
  return place_rows(text, rows, SlotLayout(slots_per_rank), PlacementFormat::ascend);
}

PlacementReadResult read_map_json(PlacementText const& text, JsonValue const& root) {
  PlacementReadResult result;
  result.placement = placement_from_json(text.content, text.source_name, text.num_experts, text.num_ranks);
  result.format = root.find("num_physical_experts") ? PlacementFormat::vllm_state : PlacementFormat::sglang_map;
  require_stated(root, "num_moe_layers", to_size(result.placement.num_layers()));
  require_stated(root, "num_physical_experts", to_size(result.placement.num_slots()));
  require_stated(root, "num_logical_experts", to_size(result.placement.num_experts()));
  return result;
}

PlacementReadResult read_vllm_lines(PlacementText const& text) {
  std::int64_t others = 0;
  JsonLines lines(text.content, text.source_name);
  while (auto const line = lines.next()) {
    if (is_vllm_record(*line, "eplb_initial_mapping")) return read_initial_mapping(text, *line);
    ++others;
  }
  VllmStats stats(text.content, text.source_name);
  VllmStatsRecord record;
  bool found = false;
  while (stats.next(record)) found = true;
  if (found) return from_stats(text, record);
  throw_error(
      ErrorCode::parse,
      fmt::format("{}: none of the {} records is an \"eplb_initial_mapping\" or \"eplb_load_stats\": a placement "
                  "is required",
                  text.source_name, others));
}

std::string write_ascend(ExpertPlacement const& placement, int first_layer) {
  std::string out = fmt::format("{{\"moe_layer_count\": {}, \"layer_list\": [", placement.num_layers());
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    out += fmt::format("{}\n{{\"layer_id\": {}, \"device_count\": {}, \"device_list\": [", layer == 0 ? "" : ",",
                       first_layer + layer, placement.num_ranks());
    for (int rank = 0; rank < placement.num_ranks(); ++rank) {
      out += fmt::format("{}{{\"device_id\": {}, \"device_expert\": ", rank == 0 ? "" : ", ", rank);
      append_ids(out, placement.rank_slots(layer, RankId(rank)));
      out += '}';
    }
    out += "]}";
  }
  return out + "\n]}\n";
}

std::string write_map_json(ExpertPlacement const& placement, bool state) {
  std::string out = "{";
  if (state)
    out += fmt::format("\"num_moe_layers\": {}, \"num_logical_experts\": {}, \"num_physical_experts\": {}, ",
                       placement.num_layers(), placement.num_experts(), placement.num_slots());
  out += "\"physical_to_logical_map\": [";
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    out += layer == 0 ? "\n" : ",\n";
    append_ids(out, placement.layer(layer));
  }
  return out + "\n]}\n";
}

std::string write_vllm_map(ExpertPlacement const& placement, int first_layer) {
  std::string out = fmt::format(R"({{"record_type":"eplb_initial_mapping","version":1,"num_redundant_experts":{},)"
                                R"("num_slots":{},"initial_global_assignments":{{)",
                                placement.num_slots() - placement.num_experts(), placement.num_slots());
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    out += fmt::format("{}\"{}\":", layer == 0 ? "" : ",", first_layer + layer);
    append_ids(out, placement.layer(layer));
  }
  return out + "}}\n";
}

}  // namespace switchyard::io
