// SPDX-License-Identifier: Apache-2.0
/// Placements in the formats of serving systems, read and written (docs/formats/placements.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "switchyard/placement/expert_placement.hpp"

namespace switchyard::io {

enum class PlacementFormat {
  switchyard,     ///< our placement file
  plan,           ///< our plan file: the placement after its move (read only)
  sglang_map,     ///< {"physical_to_logical_map": [L][P]}, SGLang's --init-expert-location
  vllm_state,     ///< the same with num_moe_layers, num_logical_experts, num_physical_experts
  vllm_map,       ///< JSONL record eplb_initial_mapping
  vllm_stats,     ///< JSONL records eplb_load_stats: the map of the last one (read only)
  sglang_pt,      ///< SGLang's per_pass recording: last_physical_to_logical_map (read only)
  ascend,         ///< vllm-ascend's JSON: layers, devices, experts
  trtllm_yaml,    ///< TensorRT-LLM's load balancer configuration
  deployment_npy  ///< npy [L][devices][slots], the deployment table of the load-balancing competition
};
[[nodiscard]] std::string_view to_string(PlacementFormat format) noexcept;
/// @return the names of the formats that can be written.
[[nodiscard]] std::vector<std::string> placement_output_names();

/// A text to read a placement from, and what the caller knows beyond it.
struct PlacementText {
  std::string_view content;
  std::string source_name;  ///< what messages call it
  int num_experts = 0;      ///< 0 = what the file says: a stated count, else largest id + 1
  int num_ranks = 0;        ///< 0 = what the file says; formats without ranks (sglang_map, vllm_map, vllm_state,
                            ///< trtllm_yaml) need it, and their slots must divide by it
};

struct PlacementReadResult {
  ExpertPlacement placement;
  PlacementFormat format = PlacementFormat::switchyard;
  int first_layer = 0;             ///< id of layer 0 in the file, where the format has ids
  int layer_updates_per_iter = 0;  ///< trtllm_yaml's own member
};

/// Tells the format by content and reads it. Pure.
/// @throws Error{parse} naming file, place, path and value for anything malformed or contradicting the counts asked
/// for;
///         Error{invalid_plan} for one of our files whose fingerprint is not its content's.
[[nodiscard]] PlacementReadResult parse_placement(PlacementText const& text);
/// The same from a file. @throws Error{io} as read_file.
[[nodiscard]] PlacementReadResult read_placement(std::string const& path, int num_experts, int num_ranks);

/// @param first_layer id of layer 0 in formats with layer ids. Same placement, same bytes.
/// @throws Error{invalid_argument} for a format that cannot be written, and for a placement that it cannot express:
///         empty slots (but for our own and the map formats), or ranks with different numbers of slots (but for our own
///         and ascend).
[[nodiscard]] std::string write_placement(ExpertPlacement const& placement, PlacementFormat format,
                                          int first_layer = 0);
/// The same with the format by name. @throws Error{invalid_argument} for a name that is not in
/// placement_output_names().
[[nodiscard]] std::string write_placement(ExpertPlacement const& placement, std::string_view format,
                                          int first_layer = 0);

}  // namespace switchyard::io
