// SPDX-License-Identifier: Apache-2.0
/// Writers of expert loads in the formats of serving systems (docs/formats/loads.md). Same load, same bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "switchyard/placement/expert_load.hpp"

namespace switchyard::io {

enum class LoadOutput {
  json,          ///< ours
  sglang_json,   ///< {"logical_count": [S][L][E]}, for --init-expert-location
  npy,           ///< [S][L][E]; <i8 when every load is an integer, else <f8
  csv,           ///< step,layer,expert,load
  vllm_stats,    ///< eplb_load_stats records, one per step, of one rank with slot i = expert i
  trtllm_stats,  ///< safetensors, I64 tensors "iteration_layer"
};
[[nodiscard]] std::string_view to_string(LoadOutput format) noexcept;
/// @return the names above, in that order.
[[nodiscard]] std::vector<std::string> load_output_names();

/// @param first_layer id of layer 0 in formats with ids. Step ids start at 0.
/// @throws Error{invalid_argument} for a fraction in a format of integers (vllm_stats, trtllm_stats), or a load
/// above
///         2^53.
[[nodiscard]] std::string write_load(ExpertLoad const& load, LoadOutput format, int first_layer = 0);

}  // namespace switchyard::io
