// SPDX-License-Identifier: Apache-2.0
/// Which placement format a text has, and the rules that all of them share.
#include "switchyard/io/placement_formats.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "json_lines.hpp"
#include "placement_parts.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::io {
namespace {

constexpr std::array<PlacementFormat, 7> kOutputs = {PlacementFormat::switchyard,    PlacementFormat::sglang_map,
                                                     PlacementFormat::vllm_state,    PlacementFormat::vllm_map,
                                                     PlacementFormat::ascend,        PlacementFormat::trtllm_yaml,
                                                     PlacementFormat::deployment_npy};

PlacementReadResult read_json(PlacementText const& text) {
  JsonValue const root = JsonDocument::parse(text.content, text.source_name).root();
  if (root.is_object() && root.find("layer_list")) return read_ascend(text, root);
  if (root.is_object() && root.find("physical_to_logical_map")) return read_map_json(text, root);
  PlacementReadResult result;
  result.placement = placement_from_json(text.content, text.source_name, text.num_experts, text.num_ranks);
  bool const is_plan = root.at("kind").as_string() != "expert_placement";
  result.format = is_plan ? PlacementFormat::plan : PlacementFormat::switchyard;
  return result;
}

int experts_of(PlacementText const& text, SlotRows const& rows) {
  std::int64_t largest = -1;
  for (auto const& [layer, slots] : rows.layers)
    for (std::int64_t const expert : slots) largest = std::max(largest, expert);
  std::int64_t const experts = text.num_experts > 0 ? text.num_experts : rows.num_experts.value_or(largest + 1);
  SWITCHYARD_REQUIRE(!rows.num_experts || *rows.num_experts == experts, parse,
                     "{}: the file is for {} experts, {} were asked for: correct the expert count", text.source_name,
                     rows.num_experts.value_or(0), experts);
  SWITCHYARD_REQUIRE(largest < experts && experts <= kMaxPlacementExperts, parse,
                     "{}: a slot holds expert {}, the ids of {} experts end at {}: correct the expert count",
                     text.source_name, largest, experts, experts - 1);
  return static_cast<int>(experts);
}

void require_gapless(PlacementText const& text, SlotRows const& rows) {
  SWITCHYARD_REQUIRE(!rows.layers.empty(), parse, "{}: no layer: the placement is empty", text.source_name);
  std::int64_t expected = rows.layers.begin()->first;
  for (auto const& [layer, slots] : rows.layers) {
    SWITCHYARD_REQUIRE(layer == expected, parse, "{}: layer {} is missing before layer {}: is the file cut off?",
                       text.source_name, expected, layer);
    ++expected;
  }
}

/// Slots may not leave a rank in the middle, as the engines cut them evenly.
SlotLayout even_layout(PlacementText const& text, std::size_t slots) {
  SWITCHYARD_REQUIRE(text.num_ranks > 0, parse,
                     "{}: {} slots per layer, but not on how many ranks: give the number of GPUs that it was made for",
                     text.source_name, slots);
  SWITCHYARD_REQUIRE(slots > 0 && slots % to_size(text.num_ranks) == 0, parse,
                     "{}: {} slots per layer do not divide by {} ranks: give the number of GPUs that it was made for",
                     text.source_name, slots, text.num_ranks);
  return SlotLayout::uniform(text.num_ranks, static_cast<int>(slots) / text.num_ranks);
}

bool allows_empty(PlacementFormat format) {
  return format == PlacementFormat::switchyard || format == PlacementFormat::sglang_map ||
         format == PlacementFormat::vllm_state;
}

bool allows_uneven(PlacementFormat format) {
  return format == PlacementFormat::switchyard || format == PlacementFormat::ascend;
}

void require_expressible(ExpertPlacement const& placement, PlacementFormat format) {
  SWITCHYARD_REQUIRE(placement.num_layers() > 0 && placement.num_slots() > 0, invalid_argument,
                     "a placement of {} layers and {} slots has nothing to write", placement.num_layers(),
                     placement.num_slots());
  SWITCHYARD_REQUIRE(allows_uneven(format) || placement.layout().uniform_slots() >= 0, invalid_argument,
                     "{} cuts the slots evenly over the ranks, this placement does not: write switchyard or ascend",
                     to_string(format));
  auto const ids = placement.slot_to_expert();
  auto const empty = std::find_if(ids.begin(), ids.end(), [](ExpertId id) { return id.value() < 0; }) - ids.begin();
  SWITCHYARD_REQUIRE(allows_empty(format) || to_size(empty) == ids.size(), invalid_argument,
                     "layer {}, slot {} is empty, which {} cannot say: write switchyard, sglang-map or vllm-state",
                     empty / placement.num_slots(), empty % placement.num_slots(), to_string(format));
}

}  // namespace

std::string_view to_string(PlacementFormat format) noexcept {
  switch (format) {
    case PlacementFormat::switchyard: return "switchyard";
    case PlacementFormat::plan: return "plan";
    case PlacementFormat::sglang_map: return "sglang-map";
    case PlacementFormat::vllm_state: return "vllm-state";
    case PlacementFormat::vllm_map: return "vllm-map";
    case PlacementFormat::vllm_stats: return "vllm-stats";
    case PlacementFormat::sglang_pt: return "sglang-pt";
    case PlacementFormat::ascend: return "ascend";
    case PlacementFormat::trtllm_yaml: return "trtllm-yaml";
    case PlacementFormat::deployment_npy: return "deployment-npy";
  }
  return "unknown";
}

std::vector<std::string> placement_output_names() {
  std::vector<std::string> names;
  for (PlacementFormat const format : kOutputs) names.emplace_back(to_string(format));
  return names;
}

PlacementReadResult place_rows(PlacementText const& text, SlotRows const& rows, PlacementFormat format) {
  require_gapless(text, rows);
  return place_rows(text, rows, even_layout(text, rows.layers.begin()->second.size()), format);
}

PlacementReadResult place_rows(PlacementText const& text, SlotRows const& rows, SlotLayout layout,
                               PlacementFormat format) {
  require_gapless(text, rows);
  SWITCHYARD_REQUIRE(text.num_ranks == 0 || layout.num_ranks() == text.num_ranks, parse,
                     "{}: the placement is for {} ranks, {} were asked for", text.source_name, layout.num_ranks(),
                     text.num_ranks);
  int const experts = experts_of(text, rows);
  std::vector<ExpertId> ids;
  for (auto const& [layer, slots] : rows.layers) {
    SWITCHYARD_REQUIRE(slots.size() == to_size(layout.num_slots()), parse,
                       "{}: layer {} has {} slots, the first layer has {}: all must agree", text.source_name, layer,
                       slots.size(), layout.num_slots());
    for (std::int64_t const expert : slots) ids.emplace_back(static_cast<std::int32_t>(expert));
  }
  PlacementReadResult result;
  result.format = format;
  result.first_layer = static_cast<int>(rows.layers.begin()->first);
  result.placement = ExpertPlacement(static_cast<int>(rows.layers.size()), experts, std::move(layout), std::move(ids));
  return result;
}

PlacementReadResult parse_placement(PlacementText const& text) {
  SWITCHYARD_REQUIRE(text.num_experts >= 0 && text.num_ranks >= 0, invalid_argument,
                     "{} experts on {} ranks asked for: neither may be negative", text.num_experts, text.num_ranks);
  std::string_view content = text.content;
  if (content.starts_with('\x93')) return read_deployment_npy(text);
  if (content.starts_with("PK")) return read_sglang_pt_map(text);
  if (content.starts_with("\xef\xbb\xbf")) content.remove_prefix(3);
  content.remove_prefix(std::min(content.find_first_not_of(" \t\r\n"), content.size()));
  if (content.starts_with('{')) return is_record_per_line(content) ? read_vllm_lines(text) : read_json(text);
  if (content.starts_with('[') || content.empty()) return read_json(text);
  return read_trtllm_yaml(text);
}

PlacementReadResult read_placement(std::string const& path, int num_experts, int num_ranks) {
  std::string const content = read_file(path);
  return parse_placement({content, path, num_experts, num_ranks});
}

std::string write_placement(ExpertPlacement const& placement, PlacementFormat format, int first_layer) {
  require_expressible(placement, format);
  switch (format) {
    case PlacementFormat::switchyard: return to_json(placement);
    case PlacementFormat::sglang_map: return write_map_json(placement, false);
    case PlacementFormat::vllm_state: return write_map_json(placement, true);
    case PlacementFormat::vllm_map: return write_vllm_map(placement, first_layer);
    case PlacementFormat::ascend: return write_ascend(placement, first_layer);
    case PlacementFormat::trtllm_yaml: return write_trtllm_yaml(placement, first_layer);
    case PlacementFormat::deployment_npy: return write_deployment_npy(placement);
    default: break;
  }
  throw_error(ErrorCode::invalid_argument, fmt::format("{} is only read: write one of {}", to_string(format),
                                                       fmt::join(placement_output_names(), ", ")));
}

std::string write_placement(ExpertPlacement const& placement, std::string_view format, int first_layer) {
  for (PlacementFormat const known : kOutputs)
    if (to_string(known) == format) return write_placement(placement, known, first_layer);
  throw_error(ErrorCode::invalid_argument, fmt::format("'{}' is no placement format that is written: known are {}",
                                                       format, fmt::join(placement_output_names(), ", ")));
}

}  // namespace switchyard::io
