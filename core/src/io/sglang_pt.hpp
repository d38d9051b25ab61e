// SPDX-License-Identifier: Apache-2.0
/// The placement that SGLang's per_pass recordings carry.
#pragma once

#include <cstdint>
#include <vector>

#include "torch_file.hpp"

namespace switchyard::io {

struct SglangMap {
  std::vector<std::int64_t> shape;    ///< layers, slots
  std::vector<std::int64_t> experts;  ///< [layers][slots], -1 = empty
};

/// @param num_experts ids must be below it; 0 = below the limit of all formats. @throws Error{parse}.
[[nodiscard]] SglangMap read_sglang_map(TorchFile const& file, int num_experts);

}  // namespace switchyard::io
