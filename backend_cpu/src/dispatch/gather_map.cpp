// SPDX-License-Identifier: Apache-2.0
#include "gather_map.hpp"

#include <algorithm>
#include <cstring>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {

std::vector<RowOrigin> own_names(RankId rank, std::int64_t rows) {
  std::vector<RowOrigin> names(to_size(rows));
  for (std::size_t row = 0; row < names.size(); ++row) names[row] = {rank.value(), static_cast<std::int64_t>(row) + 1};
  return names;
}

void interleave_parts(ConstRows blocks, std::int64_t parts, Rows out) {
  if (out.row_bytes == 0) return;
  for (std::int64_t part = 0; part < parts; ++part)
    for (std::int64_t row = 0; row < out.count; ++row)
      std::memcpy(out.data + row * out.row_bytes + part * blocks.row_bytes,
                  blocks.data + (part * out.count + row) * blocks.row_bytes, to_size(blocks.row_bytes));
}

bool has_one_join(std::vector<DispatchStage> const& path) {
  return std::count_if(path.begin(), path.end(), joins_partials) <= 1;
}

}  // namespace switchyard::cpu
