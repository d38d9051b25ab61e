// SPDX-License-Identifier: Apache-2.0
/// The binary placement formats: the competition's deployment table (npy), and the map inside SGLang's recordings.
#include "npy_header.hpp"
#include "placement_parts.hpp"
#include "sglang_pt.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::io {

PlacementReadResult read_deployment_npy(PlacementText const& text) {
  NpyHeader const header = parse_npy_header(text.content, text.source_name);
  SWITCHYARD_REQUIRE(header.shape.size() == 3 && header.num_elements > 0 && is_integer(header.type), parse,
                     "{}: a deployment table of integers [layers][devices][slots] is required, found {} dimensions",
                     text.source_name, header.shape.size());
  SWITCHYARD_REQUIRE(header.shape[1] * header.shape[2] < std::int64_t{1} << 31, parse,
                     "{}: {} devices x {} slots exceed the limit of 2^31 - 1", text.source_name, header.shape[1],
                     header.shape[2]);
  std::size_t const slots = to_size(header.shape[1] * header.shape[2]);
  SlotRows rows;
  for (std::size_t i = 0; i < to_size(header.num_elements); ++i) {
    double const expert = read_number(header.type, text.content.data() + header.data_offset, i);
    SWITCHYARD_REQUIRE(expert >= -1 && expert < static_cast<double>(kMaxPlacementExperts), parse,
                       "{}: byte {}: layer {}, slot {}: found {}, an expert in [-1, {}) is required", text.source_name,
                       header.data_offset + i * size_of(header.type), i / slots, i % slots, expert,
                       kMaxPlacementExperts);
    rows.layers[static_cast<std::int64_t>(i / slots)].push_back(static_cast<std::int64_t>(expert));
  }
  SlotLayout layout = SlotLayout::uniform(static_cast<int>(header.shape[1]), static_cast<int>(header.shape[2]));
  return place_rows(text, rows, std::move(layout), PlacementFormat::deployment_npy);
}

std::string write_deployment_npy(ExpertPlacement const& placement) {
  std::string file =
      npy_header(NumberType::i8, {placement.num_layers(), placement.num_ranks(), placement.layout().uniform_slots()});
  for (ExpertId const id : placement.slot_to_expert())
    append_little_endian(file, static_cast<std::uint64_t>(std::int64_t{id.value()}), 8);
  return file;
}

PlacementReadResult read_sglang_pt_map(PlacementText const& text) {
  TorchFile const file(text.content, text.source_name);
  SglangMap const map = read_sglang_map(file, text.num_experts);
  SlotRows rows;
  auto const slots = static_cast<std::ptrdiff_t>(map.shape[1]);
  for (std::int64_t layer = 0; layer < map.shape[0]; ++layer) {
    auto const first = map.experts.begin() + layer * slots;
    rows.layers[layer].assign(first, first + slots);
  }
  return place_rows(text, rows, PlacementFormat::sglang_pt);
}

}  // namespace switchyard::io
