// SPDX-License-Identifier: Apache-2.0
/// The foreign placement formats: one reader each, and the rules they share.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/placement_formats.hpp"

namespace switchyard::io {

/// Far above any model; bounds what a short hostile file can make us allocate.
inline constexpr std::int64_t kMaxPlacementExperts = std::int64_t{1} << 20;

/// Rows of slots under their layer ids, before they become a placement.
struct SlotRows {
  std::map<std::int64_t, std::vector<std::int64_t>> layers{};
  std::optional<std::int64_t> num_experts{};  ///< that the file states
};

/// Joins rows of equally many slots, split evenly over the ranks asked for. Ids are >= -1.
/// @throws Error{parse} for gaps between layer ids, rows of different length, slots that do not divide, or ids above
/// the expert count.
[[nodiscard]] PlacementReadResult place_rows(PlacementText const& text, SlotRows const& rows, PlacementFormat format);

/// The same for a SlotLayout that the file itself states.
[[nodiscard]] PlacementReadResult place_rows(PlacementText const& text, SlotRows const& rows, SlotLayout layout,
                                             PlacementFormat format);

[[nodiscard]] PlacementReadResult read_ascend(PlacementText const& text, JsonValue const& root);
[[nodiscard]] PlacementReadResult read_map_json(PlacementText const& text, JsonValue const& root);
[[nodiscard]] PlacementReadResult read_vllm_lines(PlacementText const& text);
[[nodiscard]] PlacementReadResult read_trtllm_yaml(PlacementText const& text);
[[nodiscard]] PlacementReadResult read_deployment_npy(PlacementText const& text);
[[nodiscard]] PlacementReadResult read_sglang_pt_map(PlacementText const& text);

[[nodiscard]] std::string write_ascend(ExpertPlacement const& placement, int first_layer);
[[nodiscard]] std::string write_map_json(ExpertPlacement const& placement, bool state);
[[nodiscard]] std::string write_vllm_map(ExpertPlacement const& placement, int first_layer);
[[nodiscard]] std::string write_trtllm_yaml(ExpertPlacement const& placement, int first_layer);
[[nodiscard]] std::string write_deployment_npy(ExpertPlacement const& placement);

}  // namespace switchyard::io
