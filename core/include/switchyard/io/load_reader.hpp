// SPDX-License-Identifier: Apache-2.0
/// Readers of expert loads: every format an operator has lying around, told apart by content (docs/formats/loads.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "switchyard/placement/expert_load.hpp"

namespace switchyard::io {

enum class LoadFormat {
  json,            ///< our {"schema_version", "expert_load"} and bare [L][E] or [S][L][E] arrays
  sglang_json,     ///< {"logical_count": [L][E] or [S][L][E]}, other members ignored
  npy,             ///< NumPy .npy of 2 or 3 dimensions, integer or float
  csv,             ///< rows "layer,expert,load" with a header, or a plain matrix of one row per layer
  jsonl_routing,   ///< one record per token with "layer" and "topk_ids"; see drop rule below
  sglang_pt,       ///< SGLang's recorder, torch.save of the `stat` or the `per_pass` shape
  vllm_stats,      ///< vLLM's eplb_load_stats records: physical loads with their map
  trtllm_stats,    ///< TensorRT-LLM's rank*.safetensors, tensors "iteration_layer"
  megatron_trace,  ///< Megatron-Core's router trace, one record per step and layer
};
[[nodiscard]] std::string_view to_string(LoadFormat format) noexcept;

/// What was read, and what a reader had to leave out: an operator must see both.
struct LoadReadResult {
  ExpertLoad load;  ///< layer 0 is the lowest layer id of the file (the first layers of a model are often dense)
  LoadFormat format = LoadFormat::json;
  std::int64_t records = 0;            ///< records counted in formats that have any, else 0
  std::int64_t dropped_profiling = 0;  ///< records before the first one whose ids are not 0..k-1 in some order: the
                                       ///< engine's profiling pass
  std::int64_t dropped_other = 0;      ///< records of other types (meta lines), skipped
  int first_layer = 0;                 ///< id of layer 0 in the file, where the format has ids
};

/// Loads are finite numbers in [0, 2^53]; integers stay exact. Every (step, layer, expert) must be there once: a gap
/// is an error, since a cut-off file looks the same. At most 65,536 experts and 2^27 values.
/// @param num_experts E that the caller expects; 0 = take it from the data (routing records: the meta record's
/// num_experts, else largest id + 1).
/// @throws Error{parse} naming file, position and value for anything truncated, mistyped, inconsistent, negative, NaN
/// or infinite, or with another number of experts; Error{io} as read_file.
[[nodiscard]] LoadReadResult read_expert_load(std::string const& path, int num_experts);

/// The same from memory; `source_name` is what messages call it. Pure.
[[nodiscard]] LoadReadResult parse_expert_load(std::string_view content, std::string const& source_name,
                                               int num_experts);

/// @return our JSON form, [steps][layers][experts], integers where the loads are integral, else the shortest digits
/// that read back equal. Same load, same bytes. @throws Error{invalid_argument} for a load above 2^53, which the
/// reader would refuse.
[[nodiscard]] std::string to_json(ExpertLoad const& load);

}  // namespace switchyard::io
